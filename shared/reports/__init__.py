"""The chain of report versions: what a version says of itself, what changed since the one before, and the trend."""
