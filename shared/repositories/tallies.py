"""Counters kept in the transaction of the move they count: rows are added, sums are read, a duty folds them."""

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from shared.models import Tally, table_of
from shared.states import JobState, Lane, ShardState

FOLDED_AT_ONCE = 5000
# The states of shards that are counted: what waits and what is worked on.
COUNTED_SHARDS = (ShardState.QUEUED, ShardState.RUNNING)

FRAMES_PREDICTED = "frames.predicted"
# Those of them on which the fast engine came too close to a threshold, so that the reference decided.
FRAMES_REPEATED = "frames.repeated"
HEAT_MAPS, HEAT_MAPS_MISSING = "heat_maps.made", "heat_maps.missing"
# Counters of what happened, which nothing but they remembers.
EVENTS = frozenset({FRAMES_PREDICTED, FRAMES_REPEATED, HEAT_MAPS, HEAT_MAPS_MISSING})

# Made once, and on the table itself: building a statement takes longer than running it, and every move adds here.
_ADD = insert(table_of(Tally))
_TOTALS = select(Tally.name, func.sum(Tally.value)).group_by(Tally.name)


def jobs_in(state: JobState) -> str:
    """The counter of jobs in a state."""
    return f"jobs.{state}"


def shards_in(lane: Lane, state: ShardState) -> str:
    """The counter of a lane's shards that are queued or running."""
    return f"shards.{lane}.{state}"


def items_queued(lane: Lane) -> str:
    """The counter of the open items of a lane's queued shards."""
    return f"items.{lane}.queued"


def count(session: Session, changes: Mapping[str, int]) -> None:
    """Add to counters."""
    rows = [{"name": name, "value": value} for name, value in changes.items() if value]
    if rows:
        session.execute(_ADD, rows)


def shard_changes(
    lane: Lane, before: ShardState | None, after: ShardState, *, items_before: int, items_after: int
) -> dict[str, int]:
    """What a shard's move changes; it had and has so many open items."""
    changes: Counter[str] = Counter()
    for state, sign, items in ((before, -1, items_before), (after, 1, items_after)):
        if state in COUNTED_SHARDS:
            changes[shards_in(lane, state)] += sign
        if state is ShardState.QUEUED:
            changes[items_queued(lane)] += sign * items
    return changes


def totals(session: Session) -> Counter[str]:
    """Every counter as it stands."""
    return Counter({name: int(value) for name, value in session.execute(_TOTALS)})


def has_more_than(session: Session, rows: int) -> bool:
    """True when the counters have more rows than that."""
    return session.scalar(select(Tally.id).order_by(Tally.id).offset(rows).limit(1)) is not None


def fold(session: Session) -> int:
    """Put the rows of each counter together; returns how many rows there are less."""
    some = select(Tally.id).order_by(Tally.id).limit(FOLDED_AT_ONCE).with_for_update(skip_locked=True)
    gone = session.execute(
        delete(Tally)
        .where(Tally.id.in_(some.scalar_subquery()))
        .returning(Tally.name, Tally.value)
        .execution_options(synchronize_session=False)
    ).all()
    sums: Counter[str] = Counter()
    for name, value in gone:
        sums[name] += value
    count(session, sums)
    return len(gone) - sum(value != 0 for value in sums.values())
