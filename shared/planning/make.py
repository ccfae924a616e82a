"""A plan becomes a job: rows, an audit event and hints, in one transaction."""

from typing import Any
from uuid import UUID

from shared.models import Job, ModelVersion
from shared.planning.plan import Plan
from shared.repositories.audit import add_audit_event
from shared.repositories.jobs import NewJob, create_job
from shared.repositories.principals import default_project
from shared.repositories.training import create_training
from shared.states import Explain, JobKind, Lane
from shared.training_options import TrainingOptions
from shared.unit_of_work import UnitOfWork

# Each wakes a worker's thread, which goes on until nothing is due.
MOST_HINTS = 32


def make_job(uow: UnitOfWork, new: NewJob, plan: Plan, *, shard_items: int, actor: str) -> UUID:
    """The id of the new job; it stands with the commit of `uow`, which then sends the hints."""
    job_id, shards = create_job(uow.session, new, plan.targets, shard_items=shard_items, actor=actor)
    counts = {name: value for name, value in plan.counts().items() if isinstance(value, int)}
    add_audit_event(uow.session, new.principal_id, "job.submit", "job", job_id, **counts)
    uow.hint(new.lane, min(shards, MOST_HINTS))
    return job_id


def make_training(  # noqa: PLR0913 - each says something about the job
    uow: UnitOfWork,
    version: ModelVersion,
    options: TrainingOptions,
    *,
    principal_id: int,
    request: dict[str, Any],
    actor: str,
    label: str = "",
    token_id: UUID | None = None,
    retry_of: UUID | None = None,
) -> Job:
    """The new training job; it stands with the commit of `uow`, which then sends the hint."""
    session = uow.session
    new = NewJob(
        lane=Lane.TRAINING,
        kind=JobKind.TRAINING,
        model_version_id=version.id,
        principal_id=principal_id,
        token_id=token_id,
        project_id=default_project(session).id,
        request=request,
        label=label,
        retry_of=retry_of,
        explain=Explain.NONE,
    )
    job = create_training(session, new, options, actor=actor)
    add_audit_event(session, principal_id, "job.submit", "job", job.id)
    uow.hint(Lane.TRAINING)
    return job
