"""Shards: claimed by one conditional UPDATE, held by a lease and a fence, given back or finished once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.errors import FencedOutError
from shared.models import Item, Job, Shard
from shared.repositories.history import changed_rows, check_shard_move, record, record_made
from shared.repositories.items import take_back_tries
from shared.repositories.lanes import due, first_turn
from shared.repositories.tallies import count, items_queued, shard_changes, shards_in
from shared.states import Failure, ItemState, Lane, ShardState


@dataclass(frozen=True)
class Claim:
    """A shard that this worker holds; `fence` goes with every write it makes."""

    shard_id: int
    job_id: UUID
    lane: Lane
    fence: int
    attempt: int
    owner: str
    failure_count: int = 0


@dataclass(frozen=True)
class NewShards:
    """Whose shards are made, and in which lane."""

    job_id: UUID
    principal_id: int
    lane: Lane


def create_shards(session: Session, new: NewShards, sizes: Sequence[int]) -> Sequence[int]:
    """Queued shards of so many items each, in turn; returns their ids in order."""
    if not sizes:
        return ()
    now = session.execute(select(db_now())).scalar_one()
    first = first_turn(session, new.lane, new.principal_id)
    common = vars(new) | {"state": ShardState.QUEUED, "not_before": now, "created_at": now}
    common |= {"attempt": 0, "fence": 0, "crash_count": 0, "failure_count": 0}
    turns = accumulate(sizes, initial=first)
    rows = [common | {"turn": turn, "items_total": size} for turn, size in zip(turns, sizes, strict=False)]
    statement = insert(Shard).returning(Shard.id, sort_by_parameter_order=True)
    shard_ids = session.scalars(statement, rows).all()
    queued, items = shards_in(new.lane, ShardState.QUEUED), items_queued(new.lane)
    count(session, {queued: len(sizes), items: sum(sizes)})
    record_made(session, new.job_id, shard_ids, actor="api")
    return shard_ids


def claim_next(session: Session, lanes: Sequence[Lane], owner: str, lease_s: float) -> Claim | None:
    """Take the next shard of the first lane that has one (queued -> running); None when there is nothing to claim."""
    return next((claim for lane in lanes if (claim := _claim_in(session, lane, owner, lease_s))), None)


def _claim_in(session: Session, lane: Lane, owner: str, lease_s: float) -> Claim | None:
    """One statement on both databases: SKIP LOCKED on PostgreSQL, a single UPDATE under the write lock on SQLite."""
    following = due(lane).order_by(Shard.turn, Shard.id).limit(1).with_for_update(skip_locked=True).scalar_subquery()
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
        .returning(Shard.id, Shard.job_id, Shard.fence, Shard.attempt, Shard.failure_count)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        return None
    claim = Claim(row.id, row.job_id, lane, row.fence, row.attempt, owner, row.failure_count)
    record_move(session, claim, ShardState.QUEUED, ShardState.RUNNING, reason="claimed")
    return claim


def held(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """As conditions of a statement: the shard runs, and under this claim's fence."""
    return (Shard.id == claim.shard_id, Shard.fence == claim.fence, Shard.state == ShardState.RUNNING)


def hold(session: Session, claim: Claim, lease_s: float, *, progress: bool = False) -> None:
    """Extend the lease at the head of a writing transaction; FencedOutError when the shard is no longer ours.

    With `progress`, failures before it are forgiven: a shard that moves on is not what kills its workers.
    """
    cancelled = select(Job.id).where(Job.id == claim.job_id, Job.cancel_requested_at.is_not(None))
    forgiven = {"crash_count": 0, "failure_count": 0} if progress else {}
    statement = (
        update(Shard)
        .where(*held(claim), ~cancelled.exists())
        .values(lease_until=db_now(lease_s), **forgiven)
        .execution_options(synchronize_session=False)
    )
    if changed_rows(session.execute(statement)) == 0:
        raise FencedOutError("the shard was taken back or its job cancelled; this attempt's results are discarded")


def finish(session: Session, claim: Claim) -> bool:
    """Move running -> done under the fence, once no item is pending; False when it is no longer ours."""
    pending = select(Item.id).where(Item.shard_id == claim.shard_id, Item.state == ItemState.PENDING)
    return _leave(session, claim, ShardState.DONE, "finished", ~pending.exists())


def release(session: Session, claim: Claim, *, reason: str, begun: Sequence[int] = ()) -> bool:
    """Give a shard back at once (running -> queued); the attempt, and those on the items `begun`, do not count."""
    given_back = _leave(session, claim, ShardState.QUEUED, reason, not_before=db_now(), attempt=Shard.attempt - 1)
    if given_back:
        take_back_tries(session, begun)
    return given_back


def put_off(
    session: Session, claim: Claim, failure: Failure, *, reason: str, delay_s: float, begun: Sequence[int] = ()
) -> bool:
    """Queue a shard again after a failure that is not its own (running -> queued), not before `delay_s` from now."""
    values = {"failure": failure, "failure_count": Shard.failure_count + 1, "not_before": db_now(delay_s)}
    put = _leave(session, claim, ShardState.QUEUED, reason, **values)
    if put:
        take_back_tries(session, begun)
    return put


def _leave(session: Session, claim: Claim, after: ShardState, reason: str, *where: Any, **values: Any) -> bool:
    check_shard_move(ShardState.RUNNING, after)
    statement = (
        update(Shard)
        .where(*held(claim), *where)
        .values(state=after, owner=None, lease_until=None, **values)
        .execution_options(synchronize_session=False)
    )
    if changed_rows(session.execute(statement)) == 0:
        return False
    record_move(session, claim, ShardState.RUNNING, after, reason=reason)
    return True


def cancel_queued(session: Session, job_id: UUID, *, actor: str) -> list[int]:
    """Move a job's queued shards to cancelled; running ones stop at their next write. End their items afterwards."""
    check_shard_move(ShardState.QUEUED, ShardState.CANCELLED)
    statement = (
        update(Shard)
        .where(Shard.job_id == job_id, Shard.state == ShardState.QUEUED)
        .values(state=ShardState.CANCELLED)
        .returning(Shard.id, Shard.lane, Shard.fence, Shard.attempt)
        .execution_options(synchronize_session=False)
    )
    rows = session.execute(statement).all()
    for row in rows:
        claim = Claim(row.id, job_id, row.lane, row.fence, row.attempt, actor)
        record_move(session, claim, ShardState.QUEUED, ShardState.CANCELLED, reason="cancelled by request")
    return [row.id for row in rows]


def cancel_running(session: Session, claim: Claim) -> bool:
    """The owner's move running -> cancelled after it saw the cancel flag."""
    return _leave(session, claim, ShardState.CANCELLED, "cancelled by request")


def shards_ahead(session: Session, shard: Shard, most: int) -> int:
    """How many queued shards of the lane come before this one; not counted beyond `most`."""
    before = (
        select(Shard.id)
        .where(
            Shard.state == ShardState.QUEUED,
            Shard.lane == shard.lane,
            tuple_(Shard.turn, Shard.id) < tuple_(shard.turn, shard.id),
        )
        .limit(most)
    )
    return session.scalar(select(func.count()).select_from(before.subquery())) or 0


def record_move(session: Session, claim: Claim, before: ShardState, after: ShardState, *, reason: str) -> None:
    """History and counters of a move just made; items that end with it are ended afterwards."""
    pending = select(func.count()).where(Item.shard_id == claim.shard_id, Item.state == ItemState.PENDING)
    still_open = session.execute(pending).scalar_one()
    count(session, shard_changes(claim.lane, before, after, items_before=still_open, items_after=still_open))
    record(
        session,
        job_id=claim.job_id,
        shard_id=claim.shard_id,
        before=before,
        after=after,
        reason=reason,
        actor=claim.owner,
        attempt=claim.attempt,
        fence=claim.fence,
        items_open=still_open,
    )
