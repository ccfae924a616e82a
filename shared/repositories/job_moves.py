"""When jobs start and end: with the first claim of a shard of theirs, and once every item has its outcome."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from shared.events import Event
from shared.models import Job, table_of
from shared.repositories.history import move_jobs
from shared.repositories.notices import add_notices
from shared.states import FINAL_JOB_STATES, JobState

_JOBS = table_of(Job).c
_ENDED = (_JOBS.items_done, _JOBS.items_failed, _JOBS.items_skipped, _JOBS.items_cancelled)

# Made once, and on the table itself: building a statement takes longer than running it.
#
# FOR NO KEY UPDATE: history rows that others write meanwhile refer to the jobs and must not wait. In the order of their
# keys: who locks several jobs at once must not wait for somebody who waits for one of these.
_LOCK_QUEUED = (
    select(_JOBS.id)
    .where(_JOBS.id.in_(bindparam("ids", expanding=True)), _JOBS.state == JobState.QUEUED)
    .order_by(_JOBS.id)
    .with_for_update(key_share=True)
)
_LOCK_ENDED = (
    select(_JOBS.id, _JOBS.kind, _JOBS.state, _JOBS.cancel_requested_at, *_ENDED)
    .where(
        _JOBS.id.in_(bindparam("ids", expanding=True)),
        _JOBS.state.not_in(FINAL_JOB_STATES),
        sum(_ENDED) >= _JOBS.items_total,
    )
    .order_by(_JOBS.id)
    .with_for_update(key_share=True)
)


def start_jobs(session: Session, job_ids: Collection[UUID], *, actor: str) -> Sequence[UUID]:
    """Move jobs queued -> running with their first claim; those that run already stay as they are."""
    queued = session.scalars(_LOCK_QUEUED, {"ids": list(job_ids)}).all()
    reason = "first shard claimed"
    return move_jobs(session, queued, JobState.QUEUED, JobState.RUNNING, reason=reason, actor=actor) if queued else ()


def settle_jobs(session: Session, job_ids: Collection[UUID], *, actor: str) -> dict[UUID, JobState]:
    """Give the jobs of which every item has an outcome their final state; those that have one keep it.

    Their rows are locked, so that a cancel is either seen here or finds the job final.
    """
    moves: dict[tuple[JobState, JobState, str], list[UUID]] = defaultdict(list)
    told: dict[UUID, dict[str, Any]] = {}
    for job in session.execute(_LOCK_ENDED, {"ids": list(job_ids)}):
        after = _final_state(job.items_done, job.items_failed, job.items_cancelled, job.cancel_requested_at is not None)
        skipped = f", {job.items_skipped} skipped" if job.items_skipped else ""
        reason = f"{job.items_done} done, {job.items_failed} failed{skipped}, {job.items_cancelled} cancelled"
        moves[job.state, after, reason].append(job.id)
        told[job.id] = _notice(job, after)
    settled: dict[UUID, JobState] = {}
    for (before, after, reason), some in moves.items():
        settled |= dict.fromkeys(move_jobs(session, some, before, after, reason=reason, actor=actor), after)
    if settled:
        add_notices(session, Event.JOB_ENDED, "job", {job_id: told[job_id] for job_id in settled})
    return settled


def _notice(job: Any, after: JobState) -> dict[str, Any]:
    counts = {"done": job.items_done, "failed": job.items_failed, "skipped": job.items_skipped}
    return {
        "kind": job.kind.value,
        "state": after.value,
        "counts": counts | {"cancelled": job.items_cancelled},
        "links": {"job": f"/api/v1/jobs/{job.id}"},
    }


def _final_state(done: int, failed: int, cancelled: int, cancel_requested: bool) -> JobState:
    if cancel_requested or cancelled:
        return JobState.CANCELLED
    if failed == 0:
        return JobState.DONE
    return JobState.PARTIAL if done else JobState.FAILED
