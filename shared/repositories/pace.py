"""How fast a lane moves: instances that got an outcome, in buckets of a few seconds."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.models import Pace, table_of
from shared.states import Lane

BUCKET_S = 5
# An ETA is told from what was measured within this time.
WINDOW_S = 300
LAST_MINUTE_S = 60
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
    seconds = int(utc_now().timestamp()) // BUCKET_S * BUCKET_S
    session.execute(_ADD, {"lane": lane, "at": datetime.fromtimestamp(seconds, UTC), "items": items})


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


def done_lately(session: Session, seconds: int, step_s: int) -> list[tuple[datetime, int]]:
    """How many items of all lanes got an outcome in each step of the last so many seconds, the oldest first."""
    last = int(utc_now().timestamp()) // step_s
    first = last - seconds // step_s + 1
    since = datetime.fromtimestamp(first * step_s, UTC)
    done: Counter[int] = Counter()
    for at, items in session.execute(select(Pace.at, func.sum(Pace.items)).where(*_in_order(since)).group_by(Pace.at)):
        done[int(at.timestamp()) // step_s] += int(items)
    return [(datetime.fromtimestamp(step * step_s, UTC), done[step]) for step in range(first, last + 1)]


def _in_order(since: datetime) -> tuple[ColumnElement[bool], ...]:
    """Rows since then, by the index, which begins with the lane."""
    return Pace.lane.in_(Lane), Pace.at >= since


def _ago(seconds: float) -> datetime:
    return utc_now() - timedelta(seconds=seconds)


def drop_old(session: Session) -> None:
    """Forget what is older than a day."""
    session.execute(delete(Pace).where(Pace.at < _ago(KEPT_S)))
