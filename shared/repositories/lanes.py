"""Lanes: their brakes, and whose turn it is in them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, delete, exists, func, select
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.db import db_now
from shared.models import LaneBrake, Shard
from shared.repositories.history import changed_rows
from shared.states import Lane, ShardState


def pause_lane(session: Session, lane: Lane, *, principal_id: int, reason: str) -> bool:
    """Stop claims from a lane; what runs is finished. False when it is paused already."""
    if session.get(LaneBrake, lane) is not None:
        return False
    session.add(LaneBrake(lane=lane, principal_id=principal_id, reason=reason, paused_at=utc_now()))
    session.flush()
    return True


def resume_lane(session: Session, lane: Lane) -> bool:
    """Let a lane run again; False when it was not paused."""
    return changed_rows(session.execute(delete(LaneBrake).where(LaneBrake.lane == lane))) > 0


def brakes(session: Session) -> dict[Lane, LaneBrake]:
    """The lanes that are paused, and why."""
    return {brake.lane: brake for brake in session.scalars(select(LaneBrake))}


# As a condition of a statement: a shard of the `lane` given with it may be claimed now.
IS_DUE = and_(
    Shard.state == ShardState.QUEUED,
    Shard.lane == bindparam("lane"),
    Shard.not_before <= db_now(),
    ~exists().where(LaneBrake.lane == bindparam("lane")),
)
# Made once: building a statement takes longer than running it.
_DUE = select(Shard.id).where(IS_DUE).limit(bindparam("most"))
_NUMBER_DUE = select(func.count()).select_from(_DUE.subquery())


def has_due(session: Session, lanes: Sequence[Lane]) -> bool:
    """True when a shard of these lanes may be claimed now."""
    return any(session.scalar(_DUE, {"lane": lane, "most": 1}) is not None for lane in lanes)


def due_up_to(session: Session, lane: Lane, most: int) -> int:
    """How many shards of a lane may be claimed now; not counted beyond `most`."""
    return session.scalar(_NUMBER_DUE, {"lane": lane, "most": most}) or 0


def oldest_queued_at(session: Session, lane: Lane) -> datetime | None:
    """When the shard was made that waits longest in a lane."""
    statement = select(Shard.created_at).where(Shard.state == ShardState.QUEUED, Shard.lane == lane)
    return session.scalar(statement.order_by(Shard.id).limit(1))


def first_turn(session: Session, lane: Lane, principal_id: int) -> int:
    """The turn of the next shard of a principal: after its own, but not before the lane's present turn.

    Turns count instances (start-time fair queueing), so that whoever comes to a long queue of somebody else waits for
    one shard of theirs, not for all.
    """
    in_lane = select(Shard.turn).where(Shard.lane == lane)
    own = select(Shard.turn + Shard.items_total).where(Shard.principal_id == principal_id, Shard.lane == lane)
    last_first = Shard.turn.desc()
    found = [
        session.scalar(in_lane.where(Shard.state == ShardState.QUEUED).order_by(Shard.turn).limit(1)),
        session.scalar(in_lane.where(Shard.state == ShardState.RUNNING).order_by(last_first).limit(1)),
        session.scalar(own.where(Shard.state == ShardState.QUEUED).order_by(last_first).limit(1)),
        session.scalar(own.where(Shard.state == ShardState.RUNNING).order_by(last_first).limit(1)),
    ]
    return max((turn for turn in found if turn is not None), default=0)
