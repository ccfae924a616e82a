"""The command line: a client of the API, and the starter of the services."""
