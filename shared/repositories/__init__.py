"""Data access: plain functions on a session, named for what they do; none commits."""
