"""How fast lanes move: instances that got an outcome, in buckets of a few seconds. What waits, by the minute."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter

from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.clock import moment_of, step_of, utc_now
from shared.db import database_time, seconds_of
from shared.models import Depth, Pace, table_of
from shared.repositories.tallies import items_queued, totals
from shared.states import Lane

BUCKET_S = 5
# An ETA is told from what was measured within this time.
WINDOW_S = 300
LAST_MINUTE_S = 60
DEPTH_S = 60
KEPT_S = 86_400

# Made once, and on the table itself where rows are added: building a statement takes longer than running it.
_ADD = insert(table_of(Pace))
_BUCKETS = (
    select(Pace.lane, func.sum(Pace.items))
    .where(Pace.lane.in_(Lane), Pace.at > bindparam("since"), Pace.at <= bindparam("until"))
    .group_by(Pace.lane, Pace.at)
    .order_by(Pace.lane, Pace.at)
)


@dataclass(frozen=True)
class Rate:
    """Measured throughput in items per second, and its standard error."""

    items_per_s: float
    error: float


def add_pace(session: Session, lane: Lane, items: int) -> None:
    """Note that so many items of a lane got an outcome now."""
    session.execute(_ADD, {"lane": lane, "at": step_of(utc_now(), BUCKET_S), "items": items})


def note_depth(session: Session) -> int:
    """Note how many items wait in each lane, unless that was done in this minute; returns how many rows it made."""
    counts = totals(session)
    row = {
        "at": step_of(database_time(session), DEPTH_S),
        "queued": {str(lane): counts[items_queued(lane)] for lane in Lane},
    }
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table_of(Depth)).values(row).on_conflict_do_nothing()
    return len(session.execute(statement.returning(table_of(Depth).c.at)).all())


def measured(session: Session) -> dict[Lane, Rate]:
    """Each lane's throughput while it worked lately; a lane without two whole buckets of it is left out."""
    since_until = {"since": _ago(WINDOW_S), "until": _ago(BUCKET_S)}
    by_lane = groupby(session.execute(_BUCKETS, since_until), key=itemgetter(0))
    # The first bucket may have begun late and is left out.
    rates = {lane: rate_of([int(items) for _, items in rows][1:]) for lane, rows in by_lane}
    return {lane: rate for lane, rate in rates.items() if rate is not None}


def rate_of(buckets: Sequence[int]) -> Rate | None:
    """Mean and standard error of whole buckets in which something was done."""
    if len(buckets) < 2:  # noqa: PLR2004 - one value has no spread
        return None
    mean = sum(buckets) / len(buckets)
    variance = sum((items - mean) ** 2 for items in buckets) / (len(buckets) - 1)
    return Rate(mean / BUCKET_S, math.sqrt(variance / len(buckets)) / BUCKET_S)


def last_minute(session: Session, lane: Lane) -> float:
    """Items per second over the last minute, also where there were none."""
    statement = select(func.sum(Pace.items)).where(Pace.lane == lane, Pace.at > _ago(LAST_MINUTE_S + BUCKET_S))
    return int(session.scalar(statement) or 0) / LAST_MINUTE_S


def done_since(session: Session, since: datetime, step_s: int) -> Counter[datetime]:
    """How many items of all lanes got an outcome in each step (shared.clock.step_of) in which some did."""
    step = (seconds_of(Pace.at) // step_s).label("step")
    # The index begins with the lane.
    statement = select(step, func.sum(Pace.items)).where(Pace.lane.in_(Lane), Pace.at >= since).group_by(step)
    return Counter({moment_of(at * step_s): int(items) for at, items in session.execute(statement)})


def depths_since(session: Session, since: datetime) -> dict[datetime, dict[str, int]]:
    """How many items waited in each lane, by the minute in which a scheduler looked, the oldest first."""
    statement = select(Depth.at, Depth.queued).where(Depth.at >= since).order_by(Depth.at)
    return dict(session.execute(statement).all())


def _ago(seconds: float) -> datetime:
    return utc_now() - timedelta(seconds=seconds)


def drop_old(session: Session) -> None:
    """Forget what is older than a day."""
    for kept in (Pace, Depth):
        session.execute(delete(kept).where(kept.at < _ago(KEPT_S)))
