"""Shards: made with their job, in turn; cancelled with it; each move with its history row and its counters."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from shared.db import database_time
from shared.models import Item, Shard, table_of
from shared.repositories.history import Move, check_shard_move, record
from shared.repositories.lanes import first_turn
from shared.repositories.tallies import count, items_queued, shard_changes, shards_in
from shared.states import ItemState, JobKind, Lane, ShardState

_ITEMS = table_of(Item).c
# Made once, and on the table itself: building a statement takes longer than running it.
_OPEN_ITEMS = (
    select(_ITEMS.shard_id, func.count())
    .where(_ITEMS.shard_id.in_(bindparam("ids", expanding=True)), _ITEMS.state == ItemState.PENDING)
    .group_by(_ITEMS.shard_id)
)


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
    kind: JobKind = JobKind.INFERENCE


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
    now = database_time(session)
    first = first_turn(session, new.lane, new.principal_id)
    common = vars(new) | {"state": ShardState.QUEUED, "not_before": now, "created_at": now}
    common |= {"attempt": 0, "fence": 0, "crash_count": 0, "failure_count": 0}
    turns = accumulate(sizes, initial=first)
    rows = [common | {"turn": turn, "items_total": size} for turn, size in zip(turns, sizes, strict=False)]
    statement = insert(Shard).returning(Shard.id, sort_by_parameter_order=True)
    shard_ids = session.scalars(statement, rows).all()
    queued, items = shards_in(new.lane, ShardState.QUEUED), items_queued(new.lane)
    count(session, {queued: len(sizes), items: sum(sizes)})
    made = [Move(new.job_id, None, ShardState.QUEUED, "", "api", shard_id=shard_id) for shard_id in shard_ids]
    record(session, made)
    return shard_ids


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
    claims = [Claim(row.id, job_id, row.lane, row.fence, row.attempt, actor) for row in rows]
    record_moves(session, claims, ShardState.QUEUED, ShardState.CANCELLED, reason="cancelled by request")
    return [row.id for row in rows]


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


def running_by_owner(session: Session) -> Counter[str]:
    """How many shards each worker holds, also one that is not heard of any more."""
    statement = select(Shard.owner, func.count()).where(Shard.state == ShardState.RUNNING).group_by(Shard.owner)
    return Counter({owner: number for owner, number in session.execute(statement) if owner is not None})


def record_moves(
    session: Session, claims: Sequence[Claim], before: ShardState, after: ShardState, *, reason: str
) -> None:
    """History and counters of moves just made; items that end with them are ended afterwards."""
    if not claims:
        return
    pending = session.execute(_OPEN_ITEMS, {"ids": [claim.shard_id for claim in claims]})
    still_open: dict[int, int] = dict(pending.all())
    changes: Counter[str] = Counter()
    moves = []
    for claim in claims:
        items = still_open.get(claim.shard_id, 0)
        changes.update(shard_changes(claim.lane, before, after, items_before=items, items_after=items))
        moves.append(
            Move(
                claim.job_id,
                before,
                after,
                reason,
                claim.owner,
                shard_id=claim.shard_id,
                attempt=claim.attempt,
                fence=claim.fence,
                items_open=items,
            )
        )
    count(session, changes)
    record(session, moves)
