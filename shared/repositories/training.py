"""Training runs: made with their job, moved on under its fence."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from shared.models import Blob, Item, Job, ModelVersion, TrainingRun
from shared.repositories.jobs import NewJob, Target, create_job
from shared.repositories.parts import in_parts
from shared.states import FINAL_JOB_STATES
from shared.training_options import TrainingOptions

# The one thing that a training job is about.
TARGET = "training"


def create_training(session: Session, new: NewJob, options: TrainingOptions, *, actor: str) -> Job:
    """A job with one item, the run, in one shard: claimed, held, taken back and ended as any other."""
    job_id, _ = create_job(session, new, [Target(TARGET)], shard_items=1, actor=actor)
    session.add(TrainingRun(job_id=job_id, options=options.model_dump(mode="json"), progress={}))
    session.flush()
    return session.get_one(Job, job_id)


def note_run(session: Session, job_id: UUID, **values: Any) -> None:
    """Write how far the run is; call `hold` first in the same transaction."""
    session.execute(update(TrainingRun).where(TrainingRun.job_id == job_id).values(**values))


def item_of(session: Session, job_id: UUID) -> Item:
    """The one item of a training job."""
    return session.scalars(select(Item).where(Item.job_id == job_id)).one()


def drop_checkpoint(session: Session, sha256: str | None) -> None:
    """Drop the row of a checkpoint, if any, that no run goes on from any more; call `lock_index` first."""
    used = select(TrainingRun.job_id).where(TrainingRun.checkpoint_sha256 == sha256)
    session.execute(delete(Blob).where(Blob.sha256 == sha256, ~used.exists()))


def drop_ended_checkpoints(session: Session, limit: int) -> int:
    """Drop the checkpoints of runs whose job is over, however it ended; call `lock_index` first."""
    over = select(TrainingRun).join(Job, Job.id == TrainingRun.job_id).where(Job.state.in_(FINAL_JOB_STATES))
    runs = session.scalars(over.where(TrainingRun.checkpoint_sha256.is_not(None)).limit(limit)).all()
    for run in runs:
        sha256, run.checkpoint_sha256 = run.checkpoint_sha256, None
        session.flush()
        drop_checkpoint(session, sha256)
    return len(runs)


def runs_of(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, TrainingRun]:
    """The runs of those of these jobs that train."""
    found: dict[UUID, TrainingRun] = {}
    for some in in_parts(job_ids):
        found |= {run.job_id: run for run in session.scalars(select(TrainingRun).where(TrainingRun.job_id.in_(some)))}
    return found


def run_that_made(session: Session, version: ModelVersion) -> TrainingRun | None:
    """The first run that ended with this version; none where it was added from outside."""
    runs = select(TrainingRun).join(Job, Job.id == TrainingRun.job_id)
    return session.scalar(
        runs.where(TrainingRun.model_version_id == version.id).order_by(Job.created_at, Job.id).limit(1)
    )
