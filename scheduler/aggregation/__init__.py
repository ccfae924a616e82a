"""A patient's predictions -> a report version."""
