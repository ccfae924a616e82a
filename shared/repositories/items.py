"""Items: each gets exactly one outcome, and the sums of its job and patient move in the same transaction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.models import Instance, Item, Job, JobPatient
from shared.repositories.history import move_job
from shared.repositories.parts import in_parts
from shared.states import FINAL_JOB_STATES, ItemState, JobState, Reason


@dataclass(frozen=True)
class Outcome:
    """How one item ended."""

    item_id: int
    state: ItemState
    reason: Reason | None = None
    detail: str = ""
    frames: int = 0
    reused: bool = False


@dataclass(frozen=True)
class PendingItem:
    """What a worker needs to know to predict on an item."""

    item_id: int
    instance_id: int
    blob_sha256: str
    number_of_frames: int


def pending_items(session: Session, shard_id: int) -> list[PendingItem]:
    """The items of a shard that still want an outcome, in order."""
    statement = (
        select(Item.id, Instance.id, Instance.blob_sha256, Instance.number_of_frames)
        .join(Instance, Instance.id == Item.instance_id)
        .where(Item.shard_id == shard_id, Item.state == ItemState.PENDING)
        .order_by(Item.id)
    )
    return [PendingItem(*row) for row in session.execute(statement)]


def record_outcomes(session: Session, job_id: UUID, outcomes: Sequence[Outcome]) -> int:
    """Give pending items their outcomes; an item that has one keeps it. Returns how many changed."""
    counts: Counter[str] = Counter()
    patients: Counter[int] = Counter()
    for outcome in outcomes:
        statement = (
            update(Item)
            .where(Item.id == outcome.item_id, Item.state == ItemState.PENDING)
            .values(
                state=outcome.state,
                reason=outcome.reason,
                detail=outcome.detail,
                frames=outcome.frames,
                reused=outcome.reused,
                finished_at=utc_now(),
            )
            .returning(Item.patient_id)
            .execution_options(synchronize_session=False)
        )
        row = session.execute(statement).one_or_none()
        if row is None:
            continue
        counts[f"items_{outcome.state}"] += 1
        counts["items_reused"] += outcome.reused
        if row.patient_id is not None:
            patients[row.patient_id] += 1
    _add_to_sums(session, job_id, counts, patients)
    return sum(counts[f"items_{state}"] for state in (ItemState.DONE, ItemState.FAILED, ItemState.CANCELLED))


def end_open_items(session: Session, job_id: UUID, shard_ids: Sequence[int], state: ItemState, reason: Reason) -> int:
    """Give all pending items of these shards one outcome (cancelled, or failed with their worker)."""
    patients: list[int | None] = []
    for some in in_parts(shard_ids):
        statement = (
            update(Item)
            .where(Item.shard_id.in_(some), Item.state == ItemState.PENDING)
            .values(state=state, reason=reason, finished_at=utc_now())
            .returning(Item.patient_id)
            .execution_options(synchronize_session=False)
        )
        patients.extend(session.scalars(statement))
    known = Counter(patient_id for patient_id in patients if patient_id is not None)
    _add_to_sums(session, job_id, Counter({f"items_{state}": len(patients)}), known)
    return len(patients)


def _add_to_sums(session: Session, job_id: UUID, counts: Counter[str], patients: Counter[int]) -> None:
    sums = {name: getattr(Job, name) + number for name, number in counts.items() if number}
    if sums:
        session.execute(update(Job).where(Job.id == job_id).values(**sums).execution_options(synchronize_session=False))
    for number in sorted(set(patients.values())):
        for some in in_parts([patient_id for patient_id, ended in patients.items() if ended == number]):
            session.execute(
                update(JobPatient)
                .where(JobPatient.job_id == job_id, JobPatient.patient_id.in_(some))
                .values(items_open=JobPatient.items_open - number)
                .execution_options(synchronize_session=False)
            )


def settle_job(session: Session, job_id: UUID, *, actor: str) -> JobState | None:
    """Give a job its final state once every item has an outcome; None while some are open."""
    # The row is locked, so that a cancel is either seen here or finds the job final. FOR NO KEY UPDATE: history rows
    # that others write meanwhile refer to the job and must not wait.
    job = session.execute(
        select(
            Job.state,
            Job.items_total,
            Job.items_done,
            Job.items_failed,
            Job.items_cancelled,
            Job.cancel_requested_at,
        )
        .where(Job.id == job_id)
        .with_for_update(key_share=True)
    ).one()
    ended = job.items_done + job.items_failed + job.items_cancelled
    if job.state in FINAL_JOB_STATES or ended < job.items_total:
        return None
    after = _final_state(job.items_done, job.items_failed, job.items_cancelled, job.cancel_requested_at is not None)
    reason = f"{job.items_done} done, {job.items_failed} failed, {job.items_cancelled} cancelled"
    moved = move_job(session, job_id, job.state, after, reason=reason, actor=actor, finished_at=utc_now())
    return after if moved else None


def _final_state(done: int, failed: int, cancelled: int, cancel_requested: bool) -> JobState:
    if cancel_requested or cancelled:
        return JobState.CANCELLED
    if failed == 0:
        return JobState.DONE
    return JobState.PARTIAL if done else JobState.FAILED


def start_job(session: Session, job_id: UUID, *, actor: str) -> bool:
    """Move a job queued -> running with its first claim; False when it runs already."""
    return move_job(
        session,
        job_id,
        JobState.QUEUED,
        JobState.RUNNING,
        reason="first shard claimed",
        actor=actor,
        started_at=utc_now(),
    )
