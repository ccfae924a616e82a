"""Jobs: made with their items and shards in one transaction, listed by cursor, cancelled by a flag."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session, lazyload

from shared.clock import utc_now
from shared.identifiers import new_id
from shared.models import Item, Job, JobPatient, Shard, table_of
from shared.reasons import Reason
from shared.repositories.filters import as_given
from shared.repositories.history import Move, changed_rows, record
from shared.repositories.job_moves import settle_jobs
from shared.repositories.job_search import folded, has_label, newest_found
from shared.repositories.outcomes import end_open_items
from shared.repositories.shards import NewShards, cancel_queued, create_shards
from shared.repositories.tallies import count, jobs_in
from shared.states import FINAL_JOB_STATES, Explain, ItemState, JobKind, JobState, Lane, ShardState

INSERT_ROWS = 1000


@dataclass(frozen=True)
class Target:
    """One thing a new job is about; `state` is pending, or final where the outcome is known already."""

    target: str
    instance_id: int | None = None
    upload_file_id: int | None = None
    patient_id: int | None = None
    state: ItemState = ItemState.PENDING
    reason: Reason | None = None
    detail: str = ""
    frames: int = 0
    reused: bool = False


@dataclass(frozen=True)
class NewJob:
    """What a job row needs."""

    lane: Lane
    principal_id: int
    project_id: int
    model_version_id: int
    request: dict[str, Any]
    token_id: UUID | None = None
    label: str = ""
    retry_of: UUID | None = None
    generation: int = 0
    explain: Explain = Explain.POSITIVES
    kind: JobKind = JobKind.INFERENCE


def create_job(
    session: Session, new: NewJob, targets: Sequence[Target], *, shard_items: int, actor: str = "api"
) -> tuple[UUID, int]:
    """Job, items, shards and per-patient counts; returns the job's id and its number of shards."""
    job_id, now = new_id(), utc_now()
    states = Counter(target.state for target in targets)
    job = Job(
        id=job_id,
        state=JobState.QUEUED,
        created_at=now,
        label_folded=folded(new.label),
        items_total=len(targets),
        items_done=states[ItemState.DONE],
        items_failed=states[ItemState.FAILED],
        items_skipped=states[ItemState.SKIPPED],
        items_reused=sum(target.reused for target in targets),
        **vars(new),
    )
    session.add(job)
    session.flush()
    count(session, {jobs_in(JobState.QUEUED): 1})
    record(session, [Move(job_id, None, JobState.QUEUED, "accepted", actor)])
    pending = [target for target in targets if target.state is ItemState.PENDING]
    known = [target for target in targets if target.state is not ItemState.PENDING]
    sizes = [min(shard_items, len(pending) - start) for start in range(0, len(pending), shard_items)]
    shard_ids = create_shards(session, NewShards(job_id, new.principal_id, new.lane), sizes)
    shard_of = [shard_id for shard_id, size in zip(shard_ids, sizes, strict=True) for _ in range(size)]
    _insert_items(session, job, zip([*known, *pending], [*(None for _ in known), *shard_of], strict=True))
    _count_patients(session, job_id, targets)
    settle_jobs(session, [job_id], actor=actor)
    session.refresh(job)
    return job_id, len(sizes)


def _insert_items(session: Session, job: Job, targets: Iterable[tuple[Target, int | None]]) -> None:
    """The job's items, each with the shard that it is in, if any."""
    common = {"job_id": job.id, "model_version_id": job.model_version_id, "tries": 0, "quarantined": False}
    rows = [
        common
        | vars(target)
        | {"shard_id": shard_id, "finished_at": None if target.state is ItemState.PENDING else job.created_at}
        for target, shard_id in targets
    ]
    for start in range(0, len(rows), INSERT_ROWS):
        session.execute(insert(table_of(Item)), rows[start : start + INSERT_ROWS])


def _count_patients(session: Session, job_id: UUID, targets: Sequence[Target]) -> None:
    still_open: Counter[int] = Counter()
    for target in targets:
        if target.patient_id is not None:
            still_open[target.patient_id] += target.state is ItemState.PENDING
    rows = [
        {"job_id": job_id, "patient_id": patient_id, "items_open": number} for patient_id, number in still_open.items()
    ]
    for start in range(0, len(rows), INSERT_ROWS):
        session.execute(insert(JobPatient), rows[start : start + INSERT_ROWS])


def get_job(session: Session, job_id: UUID) -> Job | None:
    """A job by its id."""
    return session.get(Job, job_id)


@dataclass(frozen=True)
class JobFilter:
    """Which jobs are listed; of `typed`, `shared.repositories.job_search` says what it finds."""

    state: JobState | None = None
    kind: JobKind | None = None
    lane: Lane | None = None
    label: str | None = None
    principal_id: int | None = None
    typed: str = ""


ALL_JOBS = JobFilter()


def list_jobs(
    session: Session, wanted: JobFilter = ALL_JOBS, *, before: UUID | None = None, limit: int = 50
) -> Sequence[Job]:
    """Jobs, newest first, older than the cursor `before`."""
    filters = as_given(
        (Job.state, wanted.state),
        (Job.kind, wanted.kind),
        (Job.lane, wanted.lane),
        (Job.principal_id, wanted.principal_id),
    )
    filters += has_label(wanted.label)
    if before is not None:
        filters.append(Job.id < before)
    # Many jobs have one model, which is read once, not joined to each of them: its contract can be long.
    statement = select(Job).options(lazyload(Job.model_version))
    if wanted.typed:
        statement = statement.where(Job.id.in_(newest_found(session, wanted.typed, filters, limit)))
    else:
        statement = statement.where(*filters)
    return session.scalars(statement.order_by(Job.id.desc()).limit(limit)).all()


def open_items_of(session: Session, token_id: UUID) -> int:
    """Items without an outcome in the jobs that a token asked for."""
    statement = select(func.sum(Job.items_total - Job.items_ended)).where(
        Job.token_id == token_id, Job.state.in_([JobState.QUEUED, JobState.RUNNING])
    )
    return int(session.scalar(statement) or 0)


def request_cancel(session: Session, job_id: UUID, *, actor: str) -> bool:
    """Flag a job as cancelled; what is queued ends at once, what runs at its next write. False when it is final."""
    # Shards are locked before their job, as a claim does: the other order deadlocks with it on PostgreSQL.
    end_queued(session, job_id, actor=actor)
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state.not_in(FINAL_JOB_STATES))
        .values(cancel_requested_at=func.coalesce(Job.cancel_requested_at, utc_now()))
        .execution_options(synchronize_session=False)
    )
    if changed_rows(session.execute(statement)) == 0:
        return False
    settle_jobs(session, [job_id], actor=actor)
    return True


def end_queued(session: Session, job_id: UUID, *, actor: str) -> int:
    """Cancel a job's queued shards and their items; returns how many shards."""
    shard_ids = cancel_queued(session, job_id, actor=actor)
    end_open_items(session, shard_ids, ItemState.CANCELLED, Reason.CANCELLED)
    return len(shard_ids)


def cancelled_with_queued_shards(session: Session, limit: int) -> Sequence[UUID]:
    """Cancelled jobs to which a shard came back as they were cancelled."""
    queued = select(Shard.id).where(Shard.job_id == Job.id, Shard.state == ShardState.QUEUED)
    statement = (
        select(Job.id)
        .where(Job.state.not_in(FINAL_JOB_STATES), Job.cancel_requested_at.is_not(None), queued.exists())
        .limit(limit)
    )
    return session.scalars(statement).all()
