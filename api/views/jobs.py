"""A job as it stands: counts, position, and in words what it waits for."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.schemas.jobs import JobCounts, JobShown, ModelNamed
from shared.db import db_now
from shared.models import Job, ModelVersion, Shard
from shared.repositories.shards import shards_ahead
from shared.repositories.workers import live_workers
from shared.states import FINAL_JOB_STATES, JobState, ShardState


def model_named(version: ModelVersion) -> ModelNamed:
    """Name, version and digest."""
    return ModelNamed(name=version.name, version=version.version, digest=version.digest)


def job_shown(session: Session, job: Job) -> JobShown:
    """The job as the API shows it."""
    ended = job.items_done + job.items_failed + job.items_cancelled
    position = None if job.state in FINAL_JOB_STATES else shards_ahead(session, job.id)
    base = f"/api/v1/jobs/{job.id}"
    return JobShown(
        id=job.id,
        kind=job.kind,
        state=job.state,
        priority=job.lane,
        label=job.label,
        model=model_named(job.model_version),
        counts=JobCounts(
            total=job.items_total,
            done=job.items_done,
            failed=job.items_failed,
            cancelled=job.items_cancelled,
            pending=job.items_total - ended,
            reused=job.items_reused,
        ),
        progress=ended / job.items_total if job.items_total else 1.0,
        position=position,
        waiting=_waiting(session, job, position),
        retry_of=job.retry_of,
        cancel_requested_at=job.cancel_requested_at,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        links={"self": base, "items": f"{base}/items", "history": f"{base}/history"}
        | {"reports": f"/api/v1/reports?job={job.id}"},
    )


def _waiting(session: Session, job: Job, position: int | None) -> str | None:
    if job.state in FINAL_JOB_STATES:
        return None
    if not any(job.lane in worker.lanes for worker in live_workers(session)):
        return f"no live worker serves the {job.lane} lane"
    if job.cancel_requested_at is not None:
        return "cancel was requested; a running shard stops at its next write"
    if position:
        return f"{position} shards are ahead in the {job.lane} lane"
    return _resting(session, job) or _first_in_lane(job)


def _resting(session: Session, job: Job) -> str | None:
    tried_again_at = session.scalar(
        select(func.min(Shard.not_before)).where(
            Shard.job_id == job.id, Shard.state == ShardState.QUEUED, Shard.not_before > db_now()
        )
    )
    return f"a worker was lost; tried again at {tried_again_at:%H:%M:%S} UTC" if tried_again_at else None


def _first_in_lane(job: Job) -> str | None:
    if job.state is JobState.QUEUED:
        return "first in its lane; a worker takes it as soon as one is free"
    return None
