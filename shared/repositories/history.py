"""Moves of jobs and shards: one conditional UPDATE each, its history row and what it changes in the counters.

They are dated by the database's clock: whoever makes them, their times can be compared.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, insert, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.errors import IllegalTransitionError
from shared.models import History, Job, table_of
from shared.models.job import MAX_REASON
from shared.repositories.tallies import count, jobs_in
from shared.states import JOB_MOVES, SHARD_MOVES, JobState, ShardState

# Made once, and on the table itself: building a statement takes longer than running it.
_ADD = insert(table_of(History)).values(at=db_now())


def changed_rows(result: Any) -> int:
    """How many rows an UPDATE or DELETE changed."""
    return result.rowcount if isinstance(result, CursorResult) else 0


def check_job_move(before: JobState, after: JobState) -> None:
    """Refuse a move that the table does not list."""
    if after not in JOB_MOVES[before]:
        raise IllegalTransitionError(f"a job cannot go from {before} to {after}")


def check_shard_move(before: ShardState, after: ShardState) -> None:
    """Refuse a move that the table does not list."""
    if after not in SHARD_MOVES[before]:
        raise IllegalTransitionError(f"a shard cannot go from {before} to {after}")


def move_job(
    session: Session, job_id: UUID, before: JobState, after: JobState, *, reason: str, actor: str, **values: Any
) -> bool:
    """Move a job if it still is in `before`; False when somebody else moved it first."""
    check_job_move(before, after)
    statement = update(Job).where(Job.id == job_id, Job.state == before).values(state=after, **values)
    if changed_rows(session.execute(statement)) == 0:
        return False
    count(session, {jobs_in(before): -1, jobs_in(after): 1})
    record(session, job_id=job_id, before=before, after=after, reason=reason, actor=actor)
    return True


def record(  # noqa: PLR0913 - a history row has these columns
    session: Session,
    *,
    job_id: UUID,
    after: str,
    actor: str,
    before: str | None = None,
    shard_id: int | None = None,
    reason: str = "",
    attempt: int = 0,
    fence: int = 0,
    items_open: int | None = None,
) -> None:
    """Write one history row."""
    row = {
        "job_id": job_id,
        "shard_id": shard_id,
        "from_state": before,
        "to_state": after,
        "reason": reason[:MAX_REASON],
        "actor": actor,
        "attempt": attempt,
        "fence": fence,
        "items_open": items_open,
    }
    session.execute(_ADD, row)


def record_made(session: Session, job_id: UUID, shard_ids: Sequence[int], *, actor: str) -> None:
    """Write the first history row of each new shard."""
    common: dict[str, Any] = {"job_id": job_id, "from_state": None, "to_state": ShardState.QUEUED, "reason": ""}
    common |= {"actor": actor, "attempt": 0, "fence": 0, "items_open": None}
    session.execute(_ADD, [common | {"shard_id": shard_id} for shard_id in shard_ids])
