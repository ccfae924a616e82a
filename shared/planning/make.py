"""A plan becomes a job: rows, an audit event and hints, in one transaction."""

from uuid import UUID

from shared.models import Job, Report
from shared.planning.plan import Plan
from shared.repositories.audit import add_audit_event
from shared.repositories.jobs import NewJob, create_job
from shared.repositories.training import create_training
from shared.repositories.verifications import create_verification
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


def make_verification(
    uow: UnitOfWork, new: NewJob, report: Report, sample: int | None, *, shard_items: int, actor: str
) -> Job:
    """The new job that verifies a report; it stands with the commit of `uow`, which then sends the hints."""
    job, shards = create_verification(uow.session, new, report, sample, shard_items=shard_items, actor=actor)
    add_audit_event(uow.session, new.principal_id, "job.submit", "job", job.id, report=str(report.id))
    add_audit_event(uow.session, new.principal_id, "report.verify", "report", report.id, job=str(job.id))
    uow.hint(new.lane, min(shards, MOST_HINTS))
    return job


def make_training(uow: UnitOfWork, new: NewJob, options: TrainingOptions, *, actor: str) -> Job:
    """The new training job; it stands with the commit of `uow`, which then sends the hint."""
    job = create_training(uow.session, new, options, actor=actor)
    add_audit_event(uow.session, new.principal_id, "job.submit", "job", job.id)
    uow.hint(new.lane)
    return job
