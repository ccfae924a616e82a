"""Shards: claimed by one conditional UPDATE, held by a lease and a fence, given back or finished once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.errors import FencedOutError
from shared.models import Item, Job, Shard
from shared.repositories.history import changed_rows, check_shard_move, record
from shared.states import ItemState, Lane, ShardState


@dataclass(frozen=True)
class Claim:
    """A shard that this worker holds; `fence` goes with every write it makes."""

    shard_id: int
    job_id: UUID
    fence: int
    attempt: int
    owner: str


def create_shard(session: Session, job_id: UUID, lane: Lane, items_total: int, now: datetime) -> int:
    """A queued shard; returns its id."""
    statement = (
        insert(Shard)
        .values(
            job_id=job_id,
            lane=lane,
            state=ShardState.QUEUED,
            items_total=items_total,
            attempt=0,
            fence=0,
            crash_count=0,
            not_before=db_now(),
            hinted_at=now,
            created_at=now,
        )
        .returning(Shard.id)
    )
    shard_id = session.execute(statement).scalar_one()
    record(session, job_id=job_id, shard_id=shard_id, after=ShardState.QUEUED, actor="api")
    return shard_id


def claim_next(session: Session, lane: Lane, owner: str, lease_s: float) -> Claim | None:
    """Take the lane's next shard (queued -> running); None when there is nothing to claim.

    One statement on both databases: SKIP LOCKED on PostgreSQL, a single UPDATE under the write lock on SQLite.
    """
    following = (
        select(Shard.id)
        .where(Shard.state == ShardState.QUEUED, Shard.lane == lane, Shard.not_before <= db_now())
        .order_by(Shard.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    statement = (
        update(Shard)
        .where(Shard.id == following, Shard.state == ShardState.QUEUED)
        .values(
            state=ShardState.RUNNING,
            owner=owner,
            attempt=Shard.attempt + 1,
            fence=Shard.fence + 1,
            lease_until=db_now(lease_s),
        )
        .returning(Shard.id, Shard.job_id, Shard.fence, Shard.attempt)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        return None
    claim = Claim(row.id, row.job_id, row.fence, row.attempt, owner)
    _record_move(session, claim, ShardState.QUEUED, ShardState.RUNNING, reason="claimed")
    return claim


def _held(claim: Claim) -> Any:
    return (Shard.id == claim.shard_id, Shard.fence == claim.fence, Shard.state == ShardState.RUNNING)


def hold(session: Session, claim: Claim, lease_s: float, *, progress: bool = False) -> None:
    """Extend the lease at the head of a writing transaction; FencedOutError when the shard is no longer ours.

    With `progress`, crashes before it are forgiven: a shard that moves on is not what kills its workers.
    """
    cancelled = select(Job.id).where(Job.id == claim.job_id, Job.cancel_requested_at.is_not(None))
    statement = (
        update(Shard)
        .where(*_held(claim), ~cancelled.exists())
        .values(lease_until=db_now(lease_s), **({"crash_count": 0} if progress else {}))
        .execution_options(synchronize_session=False)
    )
    if changed_rows(session.execute(statement)) == 0:
        raise FencedOutError("the shard was taken back or its job cancelled; this attempt's results are discarded")


def finish(session: Session, claim: Claim) -> bool:
    """Move running -> done under the fence, once no item is pending; False when it is no longer ours."""
    pending = select(Item.id).where(Item.shard_id == claim.shard_id, Item.state == ItemState.PENDING)
    return _leave(session, claim, ShardState.DONE, "finished", ~pending.exists())


def release(session: Session, claim: Claim, *, reason: str, delay_s: float = 0.0) -> bool:
    """Give a shard back: running -> queued, not before `delay_s` from now."""
    return _leave(session, claim, ShardState.QUEUED, reason, not_before=db_now(delay_s))


def _leave(session: Session, claim: Claim, after: ShardState, reason: str, *where: Any, **values: Any) -> bool:
    check_shard_move(ShardState.RUNNING, after)
    statement = (
        update(Shard)
        .where(*_held(claim), *where)
        .values(state=after, owner=None, lease_until=None, **values)
        .execution_options(synchronize_session=False)
    )
    if changed_rows(session.execute(statement)) == 0:
        return False
    _record_move(session, claim, ShardState.RUNNING, after, reason=reason)
    return True


def expired(session: Session, limit: int) -> list[Shard]:
    """Running shards whose lease ran out by the database's clock."""
    statement = (
        select(Shard)
        .where(Shard.state == ShardState.RUNNING, Shard.lease_until < db_now())
        .order_by(Shard.id)
        .limit(limit)
    )
    return list(session.scalars(statement))


def take_back(session: Session, shard: Shard, after: ShardState, *, reason: str, delay_s: float = 0.0) -> bool:
    """Recovery's move of a shard whose lease ran out; the fence makes the late owner's writes void."""
    check_shard_move(ShardState.RUNNING, after)
    statement = (
        update(Shard)
        .where(
            Shard.id == shard.id,
            Shard.fence == shard.fence,
            Shard.state == ShardState.RUNNING,
            Shard.lease_until < db_now(),
        )
        .values(
            state=after,
            owner=None,
            lease_until=None,
            fence=Shard.fence + 1,
            crash_count=Shard.crash_count + 1,
            not_before=db_now(delay_s),
            hinted_at=None,
        )
        .execution_options(synchronize_session=False)
    )
    if changed_rows(session.execute(statement)) == 0:
        return False
    claim = Claim(shard.id, shard.job_id, shard.fence, shard.attempt, "scheduler")
    _record_move(session, claim, ShardState.RUNNING, after, reason=reason)
    return True


def cancel_queued(session: Session, job_id: UUID, *, actor: str) -> list[int]:
    """Move a job's queued shards to cancelled; running ones stop at their next write."""
    check_shard_move(ShardState.QUEUED, ShardState.CANCELLED)
    statement = (
        update(Shard)
        .where(Shard.job_id == job_id, Shard.state == ShardState.QUEUED)
        .values(state=ShardState.CANCELLED)
        .returning(Shard.id)
        .execution_options(synchronize_session=False)
    )
    shard_ids = list(session.scalars(statement))
    for shard_id in shard_ids:
        record(
            session,
            job_id=job_id,
            shard_id=shard_id,
            before=ShardState.QUEUED,
            after=ShardState.CANCELLED,
            reason="cancelled by request",
            actor=actor,
        )
    return shard_ids


def cancel_running(session: Session, claim: Claim) -> bool:
    """The owner's move running -> cancelled after it saw the cancel flag."""
    return _leave(session, claim, ShardState.CANCELLED, "cancelled by request")


def due_for_hint(session: Session, lane: Lane, older_than_s: float, limit: int) -> list[int]:
    """Queued shards of a lane that nobody was told of lately; marks them as hinted now."""
    stale = (
        select(Shard.id)
        .where(
            Shard.state == ShardState.QUEUED,
            Shard.lane == lane,
            Shard.not_before <= db_now(),
            or_(Shard.hinted_at.is_(None), Shard.hinted_at < db_now(-older_than_s)),
        )
        .order_by(Shard.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(Shard)
        .where(Shard.id.in_(stale.scalar_subquery()), Shard.state == ShardState.QUEUED)
        .values(hinted_at=db_now())
        .returning(Shard.id)
        .execution_options(synchronize_session=False)
    )
    return list(session.scalars(statement))


def shards_ahead(session: Session, job_id: UUID) -> int | None:
    """How many queued shards of the same lane come before the job's first queued one; None when none is queued."""
    first = session.execute(
        select(func.min(Shard.id), func.min(Shard.lane)).where(Shard.job_id == job_id, Shard.state == ShardState.QUEUED)
    ).one()
    if first[0] is None:
        return None
    ahead = select(func.count()).where(
        Shard.state == ShardState.QUEUED, Shard.lane == Lane(first[1]), Shard.id < first[0]
    )
    return session.execute(ahead).scalar_one()


def _record_move(session: Session, claim: Claim, before: ShardState, after: ShardState, *, reason: str) -> None:
    open_items = select(func.count()).where(Item.shard_id == claim.shard_id, Item.state == ItemState.PENDING)
    record(
        session,
        job_id=claim.job_id,
        shard_id=claim.shard_id,
        before=before,
        after=after,
        reason=reason,
        actor=claim.owner,
        attempt=claim.attempt,
        items_open=session.execute(open_items).scalar_one(),
    )
