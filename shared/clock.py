"""The wall clock, for times that are only shown; leases use the database's own (shared.db.db_now)."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC)
