"""Where queued shards stand in line, for many jobs at once and without counting long lines."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Integer, Subquery, bindparam, func, literal, select, union_all
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


def _first_in(lane: Lane) -> Subquery:
    """The first `most` queued shards of a lane, with their places; none where the lane is not among `lanes`."""
    in_order = (Shard.turn, Shard.id)
    place = (func.row_number().over(order_by=in_order) - 1).label("place")
    is_asked = literal(lane.value).in_(bindparam("lanes", expanding=True))
    queued = select(Shard.id, Shard.lane, Shard.turn, place).where(
        is_asked, Shard.state == ShardState.QUEUED, Shard.lane == lane
    )
    return queued.order_by(*in_order).limit(bindparam("most", type_=Integer)).subquery()


# Made once: building it takes longer than running it. Places are counted where the shards are; what is read are those
# that were asked for and the last of each lane's first.
_FIRST = union_all(*(select(_first_in(lane)) for lane in Lane)).subquery()
_PLACES = select(_FIRST).where(
    _FIRST.c.id.in_(bindparam("shard_ids", expanding=True)) | (_FIRST.c.place == bindparam("last"))
)


def places(session: Session, shards: Collection[Shard], most: int) -> dict[int, int]:
    """How many queued shards of its lane come before each of these; `most` where there are so many or more."""
    if not shards:
        return {}
    asked = {"shard_ids": [shard.id for shard in shards], "lanes": sorted({shard.lane.value for shard in shards})}
    rows = session.execute(_PLACES, asked | {"most": most, "last": most - 1}).all()
    known: dict[int, int] = {row.id: row.place for row in rows}
    last = {row.lane: (row.turn, row.id) for row in rows if row.place == most - 1}

    def place(shard: Shard) -> int:
        # One that is not among the first of its lane comes after them, or was claimed since it was read.
        comes_after = shard.lane in last and (shard.turn, shard.id) > last[shard.lane]
        return known.get(shard.id, most if comes_after else 0)

    return {shard.id: place(shard) for shard in shards}
