"""Sentences of the oracle that others wait for; imported without the database."""

UNREPORTED = "a patient of a job has no report yet"
