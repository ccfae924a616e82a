"""What runs a network: one small interface, an engine a file; nothing heavy is imported until one is loaded."""
