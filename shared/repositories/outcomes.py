"""Outcomes: each item gets exactly one, and the sums of its job and patient move in the same transaction."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Update, bindparam, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.models import Item, Job, JobPatient, table_of
from shared.reasons import Reason
from shared.repositories.parts import in_parts
from shared.states import ItemState

_ITEMS, _JOBS, _PATIENTS = table_of(Item).c, table_of(Job).c, table_of(JobPatient).c
# How many of a job's items ended how.
_SUMS = ("items_done", "items_failed", "items_skipped", "items_cancelled", "items_reused")


def _end_pending(which: Column[Any]) -> Update:
    """Gives the pending items of which the column has one of `values` an outcome."""
    named = ("state", "reason", "detail", "frames", "reused", "fence", "evidence", "quarantined")
    return (
        update(table_of(Item))
        .where(which.in_(bindparam("values", expanding=True)), _ITEMS.state == ItemState.PENDING)
        .values({name: bindparam(f"its_{name}") for name in named} | {"finished_at": db_now()})
        .returning(_ITEMS.job_id, _ITEMS.patient_id)
    )


# Made once, and on the tables themselves: building a statement takes longer than running it.
_END_ITEMS, _END_ITEMS_OF_SHARDS = _end_pending(_ITEMS.id), _end_pending(_ITEMS.shard_id)
_ADD_TO_JOB = (
    update(table_of(Job))
    .where(_JOBS.id == bindparam("job"))
    .values({name: _JOBS[name] + bindparam(f"more_{name}") for name in _SUMS})
)
_ADD_TO_PATIENT = (
    update(table_of(JobPatient))
    .where(_PATIENTS.job_id == bindparam("job"), _PATIENTS.patient_id == bindparam("patient"))
    .values(items_open=_PATIENTS.items_open - bindparam("ended"))
)


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
class _Ended:
    """An item that got its outcome just now."""

    job_id: UUID
    patient_id: int | None
    outcome: Outcome


def record_outcomes(session: Session, by_fence: Mapping[int, Sequence[Outcome]]) -> int:
    """Give pending items their outcomes; an item that has one keeps it. Returns how many changed.

    The fences are those of the claims that the writing transaction holds. All outcomes of a transaction come together:
    its jobs and patients are locked in one order.
    """
    ended: list[_Ended] = []
    for fence, outcomes in by_fence.items():
        for outcome, item_ids in _alike(outcomes):
            ended += _end_items(session, _END_ITEMS, item_ids, outcome, fence)
    _add_to_sums(session, ended)
    return len(ended)


def _alike(outcomes: Sequence[Outcome]) -> Iterator[tuple[Outcome, list[int]]]:
    """Equal outcomes with their items, so that each kind is one statement; evidence is an item's own."""
    alike: dict[Outcome, list[int]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.evidence is not None:
            yield outcome, [outcome.item_id]
        else:
            alike[replace(outcome, item_id=0)].append(outcome.item_id)
    yield from alike.items()


def end_open_items(session: Session, shard_ids: Sequence[int], state: ItemState, reason: Reason) -> int:
    """Give all pending items of these shards one outcome (cancelled, or failed with their worker)."""
    ended = list(_end_items(session, _END_ITEMS_OF_SHARDS, shard_ids, Outcome(0, state, reason), None))
    _add_to_sums(session, ended)
    return len(ended)


def _end_items(
    session: Session, statement: Update, values: Sequence[int], outcome: Outcome, fence: int | None
) -> Iterator[_Ended]:
    """Run one of the statements above; what it ended."""
    given = {f"its_{name}": value for name, value in vars(outcome).items() if name != "item_id"}
    given |= {"its_fence": fence, "its_quarantined": outcome.evidence is not None}
    for some in in_parts(values):
        for job_id, patient_id in session.execute(statement, given | {"values": some}):
            yield _Ended(job_id, patient_id, outcome)


def _add_to_sums(session: Session, ended: Iterable[_Ended]) -> None:
    """Those of jobs before those of patients, each in the order of their keys, as whoever locks several must."""
    jobs: dict[UUID, Counter[str]] = defaultdict(Counter)
    patients: Counter[tuple[UUID, int]] = Counter()
    for one in ended:
        jobs[one.job_id][f"items_{one.outcome.state}"] += 1
        jobs[one.job_id]["items_reused"] += one.outcome.reused
        if one.patient_id is not None:
            patients[one.job_id, one.patient_id] += 1
    if jobs:
        sums = [{"job": job, **{f"more_{name}": jobs[job][name] for name in _SUMS}} for job in sorted(jobs)]
        session.execute(_ADD_TO_JOB, sums)
    if patients:
        rows = [{"job": key[0], "patient": key[1], "ended": patients[key]} for key in sorted(patients)]
        session.execute(_ADD_TO_PATIENT, rows)
