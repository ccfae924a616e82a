"""Flask in, rows and hints out; and the command line, a client of it."""
