"""A loop of small duties, each safe to run on several hosts at once."""
