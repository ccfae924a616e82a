"""Claims as history tells them: who held a shard, under which fence, from when to when."""

from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute

from shared.models import History
from shared.states import ShardState


def claims() -> Select[Any]:
    """A row a claim: shard_id, fence, owner, began_at, and ended_at and ended_by of the shard's next move."""
    moves = (
        select(
            History.shard_id.label("shard_id"),
            History.fence.label("fence"),
            History.actor.label("owner"),
            History.to_state.label("to_state"),
            History.at.label("began_at"),
            _following(History.at).label("ended_at"),
            _following(History.actor).label("ended_by"),
        )
        .where(History.shard_id.is_not(None))
        .subquery()
    )
    return select(
        moves.c.shard_id, moves.c.fence, moves.c.owner, moves.c.began_at, moves.c.ended_at, moves.c.ended_by
    ).where(moves.c.to_state == ShardState.RUNNING)


def _following(column: InstrumentedAttribute[Any]) -> Any:
    """The column's value in the next move of the same shard."""
    return func.lead(column, type_=column.type).over(partition_by=History.shard_id, order_by=History.id)
