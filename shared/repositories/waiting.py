"""Where queued shards stand in line, for many jobs at once and without counting long lines."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.models import Shard
from shared.repositories.parts import in_parts
from shared.states import Lane, ShardState


def next_shards(session: Session, job_ids: Sequence[UUID], now: datetime) -> dict[UUID, Shard]:
    """The queued shard of each job that is claimed first; one that rests only where all of the job's do.

    `now` is the database's; as a value, not as its function, so that the statement is compiled once.
    """
    in_order = (Shard.not_before > now, Shard.turn, Shard.id)
    found: dict[UUID, Shard] = {}
    for some in in_parts(job_ids):
        rank = func.row_number().over(partition_by=Shard.job_id, order_by=in_order)
        ranked = (
            select(Shard.id, rank.label("rank"))
            .where(Shard.job_id.in_(some), Shard.state == ShardState.QUEUED)
            .subquery()
        )
        statement = select(Shard).join(ranked, ranked.c.id == Shard.id).where(ranked.c.rank == 1)
        found.update({shard.job_id: shard for shard in session.scalars(statement)})
    return found


def places(session: Session, shards: Collection[Shard], most: int) -> dict[int, int]:
    """How many queued shards of its lane come before each of these; `most` where there are so many or more."""
    by_lane: dict[Lane, list[Shard]] = defaultdict(list)
    for shard in shards:
        by_lane[shard.lane].append(shard)
    found: dict[int, int] = {}
    for lane, of_lane in by_lane.items():
        found |= _places_in_lane(session, lane, of_lane, most)
    return found


def _places_in_lane(session: Session, lane: Lane, shards: Sequence[Shard], most: int) -> dict[int, int]:
    """From the first shards of the lane, which are counted where they are: only those asked for come here."""
    in_order = (Shard.turn, Shard.id)
    head = (
        select(Shard.id, Shard.turn, (func.row_number().over(order_by=in_order) - 1).label("place"))
        .where(Shard.state == ShardState.QUEUED, Shard.lane == lane)
        .order_by(*in_order)
        .limit(most)
        .subquery()
    )
    wanted = head.c.id.in_([shard.id for shard in shards]) | (head.c.place == most - 1)
    rows = session.execute(select(head.c.id, head.c.turn, head.c.place).where(wanted)).all()
    known = {row.id: row.place for row in rows}
    last = next(((row.turn, row.id) for row in rows if row.place == most - 1), None)
    # One that is not among the first comes after them, or was claimed since it was read.
    return {
        shard.id: known.get(shard.id, most if last is not None and (shard.turn, shard.id) > last else 0)
        for shard in shards
    }
