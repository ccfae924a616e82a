"""Moves of jobs and shards: one conditional UPDATE, a history row each and what they change in the counters.

They are dated by the database's clock: whoever makes them, their times can be compared.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, Table, Update, bindparam, insert, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.errors import IllegalTransitionError
from shared.models import History, Job, table_of
from shared.models.job import MAX_REASON
from shared.repositories.tallies import count, jobs_in
from shared.states import JOB_MOVES, SHARD_MOVES, JobState, ShardState


def _move_jobs(jobs: Table, dated: str) -> Update:
    statement = update(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True)), jobs.c.state == bindparam("before"))
    return statement.values({"state": bindparam("after"), dated: db_now()}).returning(jobs.c.id)


# Made once, and on the table itself: building a statement takes longer than running it.
_ADD = insert(table_of(History)).values(at=db_now())
_START_JOBS = _move_jobs(table_of(Job), "started_at")
_END_JOBS = _move_jobs(table_of(Job), "finished_at")


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


@dataclass(frozen=True)
class Move:
    """One row of the history: a job or, with its id, a shard went from `before` to `after`."""

    job_id: UUID
    before: str | None
    after: str
    reason: str
    actor: str
    shard_id: int | None = None
    attempt: int = 0
    fence: int = 0
    items_open: int | None = None


def move_jobs(
    session: Session, job_ids: Collection[UUID], before: JobState, after: JobState, *, reason: str, actor: str
) -> Sequence[UUID]:
    """Move the jobs that still are in `before`, and date their start or end; those that somebody else moved stay."""
    check_job_move(before, after)
    statement = _START_JOBS if after is JobState.RUNNING else _END_JOBS
    moved = session.scalars(statement, {"ids": list(job_ids), "before": before, "after": after}).all()
    count(session, {jobs_in(before): -len(moved), jobs_in(after): len(moved)})
    record(session, [Move(job_id, before, after, reason, actor) for job_id in moved])
    return moved


def record(session: Session, moves: Sequence[Move]) -> None:
    """Write history rows."""
    rows = [
        {
            "job_id": move.job_id,
            "shard_id": move.shard_id,
            "from_state": move.before,
            "to_state": move.after,
            "reason": move.reason[:MAX_REASON],
            "actor": move.actor,
            "attempt": move.attempt,
            "fence": move.fence,
            "items_open": move.items_open,
        }
        for move in moves
    ]
    if rows:
        session.execute(_ADD, rows)
