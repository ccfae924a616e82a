"""Items: each gets exactly one outcome, and the sums of its job and patient move in the same transaction."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.db import db_now
from shared.dicom.planes import planes_of_document
from shared.model_contract import AllSlices, SliceRule
from shared.models import Instance, Item, Job, JobPatient
from shared.repositories.history import move_job
from shared.repositories.parts import in_parts
from shared.slice_selection import selected_frames
from shared.states import FINAL_JOB_STATES, ItemState, JobState, Reason

ALL_SLICES = AllSlices()


@dataclass(frozen=True)
class Outcome:
    """How one item ended; `evidence` (of what killed a process) quarantines it."""

    item_id: int
    state: ItemState
    reason: Reason | None = None
    detail: str = ""
    frames: int = 0
    reused: bool = False
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PendingItem:
    """What a worker needs to know to predict on an item; `tries` that ended without a word make it a suspect.

    `frames` are the numbers of those to predict on, None for all; `number_of_frames` says how many that is.
    """

    item_id: int
    instance_id: int
    blob_sha256: str
    number_of_frames: int
    tries: int = 0
    frames: tuple[int, ...] | None = None


def pending_items(session: Session, shard_id: int, rule: SliceRule = ALL_SLICES) -> list[PendingItem]:
    """The items of a shard that still want an outcome, in order; `rule` selects their frames."""
    planes = (Instance.planes,) if not isinstance(rule, AllSlices) else ()
    statement = (
        select(Item.id, Instance.id, Instance.blob_sha256, Instance.number_of_frames, Item.tries, *planes)
        .join(Instance, Instance.id == Item.instance_id)
        .where(Item.shard_id == shard_id, Item.state == ItemState.PENDING)
        .order_by(Item.id)
    )
    return [_pending(rule, *row) for row in session.execute(statement)]


def _pending(
    rule: SliceRule, item_id: int, instance_id: int, blob_sha256: str, number_of_frames: int, tries: int, *planes: Any
) -> PendingItem:
    frames = selected_frames(rule, number_of_frames, planes_of_document(*planes)) if planes else None
    wanted = number_of_frames if frames is None else len(frames)
    return PendingItem(item_id, instance_id, blob_sha256, wanted, tries, frames)


def begin_items(session: Session, item_ids: Sequence[int]) -> None:
    """Note that an attempt begins on these: whatever dies of one, its name is in the database before."""
    _add_tries(session, item_ids, 1)


def take_back_tries(session: Session, item_ids: Sequence[int]) -> None:
    """An attempt that was given back does not count; nor does it where its begin was not committed after all."""
    _add_tries(session, item_ids, -1)


def _add_tries(session: Session, item_ids: Sequence[int], number: int) -> None:
    for some in in_parts(item_ids):
        session.execute(
            update(Item)
            .where(Item.id.in_(some), Item.state == ItemState.PENDING, Item.tries >= -number)
            .values(tries=Item.tries + number)
            .execution_options(synchronize_session=False)
        )


def record_outcomes(session: Session, job_id: UUID, outcomes: Sequence[Outcome], *, fence: int) -> int:
    """Give pending items their outcomes; an item that has one keeps it. Returns how many changed.

    `fence` is that of the claim that the writing transaction holds.
    """
    counts: Counter[str] = Counter()
    patients: list[int | None] = []
    for outcome, item_ids in _alike(outcomes):
        values = {name: value for name, value in vars(outcome).items() if name != "item_id"}
        values |= {"fence": fence, "quarantined": outcome.evidence is not None}
        ended = _end_items(session, Item.id, item_ids, values)
        counts[f"items_{outcome.state}"] += len(ended)
        counts["items_reused"] += len(ended) * outcome.reused
        patients += ended
    _add_to_sums(session, job_id, counts, patients)
    return len(patients)


def _alike(outcomes: Sequence[Outcome]) -> Iterator[tuple[Outcome, list[int]]]:
    """Equal outcomes with their items, so that each kind is one statement; evidence is an item's own."""
    alike: dict[Outcome, list[int]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.evidence is not None:
            yield outcome, [outcome.item_id]
        else:
            alike[replace(outcome, item_id=0)].append(outcome.item_id)
    yield from alike.items()


def end_open_items(session: Session, job_id: UUID, shard_ids: Sequence[int], state: ItemState, reason: Reason) -> int:
    """Give all pending items of these shards one outcome (cancelled, or failed with their worker)."""
    ended = _end_items(session, Item.shard_id, shard_ids, {"state": state, "reason": reason})
    _add_to_sums(session, job_id, Counter({f"items_{state}": len(ended)}), ended)
    return len(ended)


def _end_items(
    session: Session, column: InstrumentedAttribute[Any], values: Sequence[int], outcome: dict[str, Any]
) -> list[int | None]:
    """Give the pending items that `column` and `values` name one outcome; the patient of each that changed."""
    patients: list[int | None] = []
    for some in in_parts(values):
        statement = (
            update(Item)
            .where(column.in_(some), Item.state == ItemState.PENDING)
            .values(**outcome, finished_at=db_now())
            .returning(Item.patient_id)
            .execution_options(synchronize_session=False)
        )
        patients.extend(session.scalars(statement))
    return patients


def _add_to_sums(session: Session, job_id: UUID, counts: Counter[str], ended: Sequence[int | None]) -> None:
    patients = Counter(patient_id for patient_id in ended if patient_id is not None)
    sums = {name: getattr(Job, name) + number for name, number in counts.items() if number}
    if sums:
        session.execute(update(Job).where(Job.id == job_id).values(**sums).execution_options(synchronize_session=False))
    for number in sorted(set(patients.values())):
        for some in in_parts([patient_id for patient_id, count in patients.items() if count == number]):
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
            Job.items_ended,
            Job.items_done,
            Job.items_failed,
            Job.items_skipped,
            Job.items_cancelled,
            Job.cancel_requested_at,
        )
        .where(Job.id == job_id)
        .with_for_update(key_share=True)
    ).one()
    if job.state in FINAL_JOB_STATES or job.items_ended < job.items_total:
        return None
    after = _final_state(job.items_done, job.items_failed, job.items_cancelled, job.cancel_requested_at is not None)
    skipped = f", {job.items_skipped} skipped" if job.items_skipped else ""
    reason = f"{job.items_done} done, {job.items_failed} failed{skipped}, {job.items_cancelled} cancelled"
    moved = move_job(session, job_id, job.state, after, reason=reason, actor=actor, finished_at=db_now())
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
        started_at=db_now(),
    )
