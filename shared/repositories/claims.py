"""Claims: shards taken by one conditional UPDATE, held by a lease and a fence, given back or finished once."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Float, Row, and_, bindparam, case, select, tuple_, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.errors import FencedOutError
from shared.models import Item, Job, Shard, table_of
from shared.reasons import Failure
from shared.repositories.history import check_shard_move
from shared.repositories.items import take_back_tries
from shared.repositories.lanes import IS_DUE
from shared.repositories.shards import Claim, record_moves
from shared.states import ItemState, Lane, ShardState

# Items on which an attempt began and that have no outcome yet, each with its shard.
Begun = Mapping[int, int]
NOTHING_BEGUN: Begun = {}

_SHARD, _JOB = table_of(Shard), table_of(Job)
_SHARDS, _JOBS = _SHARD.c, _JOB.c
_IN_TURN = (_SHARDS.turn, _SHARDS.id)
# What jobs must have in common so that their shards are worked on together.
_WORK = (_JOBS.kind, _JOBS.model_version_id, _JOBS.generation, _JOBS.explain)
_HELD = tuple_(_SHARDS.id, _SHARDS.fence).in_(bindparam("held", expanding=True))
_LEASE_UNTIL = db_now(bindparam("lease_s", type_=Float))


def _forgiven(failures: Any) -> Any:
    return case((_SHARDS.id.in_(bindparam("progressed", expanding=True)), 0), else_=failures)


# Made once, and on the tables themselves: building a statement takes longer than running it.
_FIRST = (
    select(_SHARDS.id, _SHARDS.items_total, _SHARDS.crash_count, _SHARDS.failure_count, *_WORK)
    .join(_JOB, _JOBS.id == _SHARDS.job_id)
    .where(IS_DUE)
    .order_by(*_IN_TURN)
    .limit(1)
    .with_for_update(of=_SHARD, skip_locked=True)
)
_NEXT = select(_SHARDS.id).where(IS_DUE).order_by(*_IN_TURN).limit(bindparam("looked_at"))
_LIKE_IT = (
    select(_SHARDS.id)
    .join(_JOB, _JOBS.id == _SHARDS.job_id)
    .where(
        _SHARDS.id.in_(bindparam("ids", expanding=True)),
        _SHARDS.state == ShardState.QUEUED,
        _SHARDS.items_total <= bindparam("items"),
        _SHARDS.crash_count == 0,
        _SHARDS.failure_count == 0,
        *(column == bindparam(f"its_{column.name}") for column in _WORK),
    )
    .order_by(*_IN_TURN)
    .limit(bindparam("most"))
    .with_for_update(of=_SHARD, skip_locked=True)
)
_TAKE = (
    update(_SHARD)
    .where(_SHARDS.id.in_(bindparam("ids", expanding=True)), _SHARDS.state == ShardState.QUEUED)
    .values(
        state=ShardState.RUNNING,
        owner=bindparam("worker"),
        attempt=_SHARDS.attempt + 1,
        fence=_SHARDS.fence + 1,
        claimed_at=db_now(),
        lease_until=_LEASE_UNTIL,
    )
    .returning(_SHARDS.id, _SHARDS.job_id, _SHARDS.fence, _SHARDS.attempt, _SHARDS.failure_count)
)
_HOLD = (
    update(_SHARD)
    .where(
        _HELD,
        _SHARDS.state == ShardState.RUNNING,
        ~select(_JOBS.id).where(_JOBS.id == _SHARDS.job_id, _JOBS.cancel_requested_at.is_not(None)).exists(),
    )
    .values(
        lease_until=_LEASE_UNTIL,
        crash_count=_forgiven(_SHARDS.crash_count),
        failure_count=_forgiven(_SHARDS.failure_count),
    )
    .returning(_SHARDS.id)
)


def claim_next(session: Session, lanes: Sequence[Lane], owner: str, lease_s: float, *, most_items: int) -> list[Claim]:
    """Take the next shard of the first lane that has one (queued -> running); none when there is nothing to claim.

    A small one is not taken alone: with it come those of its lane that follow soon and are no larger, that belong to
    jobs that want the same of the same model, and that have not failed; together `most_items` items at most.
    """
    return next((claims for lane in lanes if (claims := _claim_in(session, lane, owner, lease_s, most_items))), [])


def _claim_in(session: Session, lane: Lane, owner: str, lease_s: float, most_items: int) -> list[Claim]:
    """SKIP LOCKED on PostgreSQL, all under the write lock on SQLite."""
    first = session.execute(_FIRST, {"lane": lane}).one_or_none()
    if first is None:
        return []
    ids = [first.id, *_like(session, lane, first, most_items)]
    rows = session.execute(_TAKE, {"ids": ids, "worker": owner, "lease_s": lease_s}).all()
    claims = [
        Claim(row.id, row.job_id, lane, row.fence, row.attempt, owner, row.failure_count, first.kind) for row in rows
    ]
    record_moves(session, claims, ShardState.QUEUED, ShardState.RUNNING, reason="claimed")
    return claims


def _like(session: Session, lane: Lane, first: Row[*tuple[Any, ...]], most_items: int) -> Sequence[int]:
    more = most_items // max(first.items_total, 1) - 1
    if more < 1 or first.crash_count or first.failure_count:
        return ()
    # Two statements: as one, PostgreSQL may look through all that is queued.
    following = [one for one in session.scalars(_NEXT, {"lane": lane, "looked_at": most_items}) if one != first.id]
    given = {"ids": following, "items": first.items_total, "most": more}
    given |= {f"its_{column.name}": getattr(first, column.name) for column in _WORK}
    return session.scalars(_LIKE_IT, given).all()


def held(claims: Sequence[Claim]) -> ColumnElement[bool]:
    """As a condition of a statement: the shard runs, and under the fence of one of these claims."""
    return and_(tuple_(Shard.id, Shard.fence).in_(_fences(claims)), Shard.state == ShardState.RUNNING)


def _fences(claims: Sequence[Claim]) -> list[tuple[int, int]]:
    return [(claim.shard_id, claim.fence) for claim in claims]


def hold(session: Session, claims: Sequence[Claim], lease_s: float, *, progressed: Collection[int] = ()) -> list[Claim]:
    """Extend the leases at the head of a writing transaction; gives the claims that hold.

    The others were taken back or their job cancelled: what this attempt has of them is to be discarded. FencedOutError
    when none holds. The shards that `progressed` are forgiven earlier failures: one that moves on is not what kills
    its workers.
    """
    given = {"held": _fences(claims), "progressed": list(progressed)}
    ours = set(session.scalars(_HOLD, given | {"lease_s": lease_s}))
    if not ours:
        raise FencedOutError("the shard was taken back or its job cancelled; this attempt's results are discarded")
    return [claim for claim in claims if claim.shard_id in ours]


def finish(session: Session, claims: Sequence[Claim]) -> list[Claim]:
    """Move running -> done under the fence those of which no item is pending; gives these."""
    pending = select(Item.id).where(Item.shard_id == Shard.id, Item.state == ItemState.PENDING)
    return _leave(session, claims, ShardState.DONE, "finished", ~pending.exists())


def release(session: Session, claims: Sequence[Claim], *, reason: str, begun: Begun = NOTHING_BEGUN) -> list[Claim]:
    """Give shards back at once (running -> queued), gives which; the attempt, also on the items `begun`, is not one."""
    left = _leave(session, claims, ShardState.QUEUED, reason, not_before=db_now(), attempt=Shard.attempt - 1)
    take_back_tries(session, begun_in(left, begun))
    return left


def put_off(
    session: Session,
    claims: Sequence[Claim],
    failure: Failure,
    *,
    reason: str,
    delay_s: float,
    begun: Begun = NOTHING_BEGUN,
) -> list[Claim]:
    """Queue shards again after a failure that is not theirs (running -> queued), not before `delay_s` from now."""
    values = {"failure": failure, "failure_count": Shard.failure_count + 1, "not_before": db_now(delay_s)}
    left = _leave(session, claims, ShardState.QUEUED, reason, **values)
    take_back_tries(session, begun_in(left, begun))
    return left


def begun_in(claims: Sequence[Claim], begun: Begun) -> list[int]:
    """The items begun that are in these shards, in order."""
    shards = {claim.shard_id for claim in claims}
    return sorted(item for item, shard in begun.items() if shard in shards)


def cancel_running(session: Session, claims: Sequence[Claim]) -> list[Claim]:
    """The owner's move running -> cancelled after it saw the cancel flag; the others are not its any more."""
    return _leave(session, claims, ShardState.CANCELLED, "cancelled by request")


def _leave(
    session: Session, claims: Sequence[Claim], after: ShardState, reason: str, *where: Any, **values: Any
) -> list[Claim]:
    check_shard_move(ShardState.RUNNING, after)
    statement = (
        update(Shard)
        .where(held(claims), *where)
        .values(state=after, owner=None, lease_until=None, **values)
        .returning(Shard.id)
        .execution_options(synchronize_session=False)
    )
    left = set(session.scalars(statement))
    moved = [claim for claim in claims if claim.shard_id in left]
    record_moves(session, moved, ShardState.RUNNING, after, reason=reason)
    return moved
