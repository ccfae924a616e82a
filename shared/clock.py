"""The wall clock, for times that are only shown; leases and moves go by the database's own (shared.db.db_now)."""

from datetime import UTC, datetime, timedelta

# How far this process's clock is from right: nothing, unless a fault is injected (shared.faults).
_error: list[timedelta] = [timedelta()]


def utc_now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC) + _error[0]


def be_wrong_by(seconds: float) -> None:
    """From now on this process's clock is so far ahead; behind where negative."""
    _error[0] = timedelta(seconds=seconds)
