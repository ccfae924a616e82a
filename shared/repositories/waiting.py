"""Where queued shards stand in line, for many jobs at once and without counting long lines."""

from collections.abc import Sequence
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


def head_of_lane(session: Session, lane: Lane, most: int) -> list[tuple[int, int]]:
    """(turn, id) of the first queued shards of a lane, in the order of the claim."""
    statement = (
        select(Shard.turn, Shard.id)
        .where(Shard.state == ShardState.QUEUED, Shard.lane == lane)
        .order_by(Shard.turn, Shard.id)
        .limit(most)
    )
    return [(turn, shard_id) for turn, shard_id in session.execute(statement)]
