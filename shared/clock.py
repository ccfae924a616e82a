"""The wall clock, for times that are only shown; leases and moves go by the database's own (shared.db.db_now)."""

from datetime import UTC, datetime, timedelta

# How far this process's clock is from right: nothing, unless a fault is injected (shared.faults).
_error: list[timedelta] = [timedelta()]


def utc_now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC) + _error[0]


def moment_of(seconds: float) -> datetime:
    """The time so many seconds after 1970 began, aware, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def step_of(at: datetime, step_s: int) -> datetime:
    """When the step of so many seconds began that a time lies in; steps begin on multiples of their length."""
    return moment_of(int(at.timestamp()) // step_s * step_s)


def steps_until_now(seconds: int, step_s: int) -> list[datetime]:
    """When each step of the last so many seconds began, the oldest first; the last one is not over yet."""
    last = step_of(utc_now(), step_s)
    return [last - timedelta(seconds=step_s * ago) for ago in reversed(range(seconds // step_s))]


def be_wrong_by(seconds: float) -> None:
    """From now on this process's clock is so far ahead; behind where negative."""
    _error[0] = timedelta(seconds=seconds)
