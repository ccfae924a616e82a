"""Every acknowledged job ended once: final state, one terminal move, one submit event, sums that add up."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, String, case, cast, func, literal, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.models import AuditEvent, History, Item, Job, JobPatient, Shard
from shared.oracle.findings import Finding, Verdict, found, gather, stream
from shared.repositories.tallies import COUNTED_SHARDS, EVENTS, items_queued, jobs_in, shards_in, totals
from shared.states import FINAL_JOB_STATES, SHARD_MOVES, ItemState, JobState, Lane, ShardState

FINAL_SHARD_STATES = frozenset(state for state, moves in SHARD_MOVES.items() if not moves)


def check_jobs(session: Session, acknowledged: Sequence[UUID]) -> Iterator[Finding]:
    """Jobs, their shards and items, by what the rows say of each other."""
    yield from _acknowledged(session, acknowledged)
    yield from _unfinished(session)
    yield from _terminal_moves(session)
    yield from _submit_events(session)
    yield from _sums(session)
    yield from _open_items_of_patients(session)
    yield from _tallies(session)


def _acknowledged(session: Session, acknowledged: Sequence[UUID]) -> Iterator[Finding]:
    if acknowledged:
        known = {row[0] for row in stream(session, select(Job.id))}
        missing = (f"job {job_id}" for job_id in acknowledged if job_id not in known)
        yield from gather(Verdict.LOST, "a job was acknowledged and is not there", missing)
    twice = (f"job {job_id}" for job_id, times in Counter(acknowledged).items() if times > 1)
    yield from gather(Verdict.DOUBLED, "two requests were given the same job", twice)


def _unfinished(session: Session) -> Iterator[Finding]:
    jobs = select(Job.id).where(Job.state.not_in(FINAL_JOB_STATES))
    yield from found(session, Verdict.LOST, "a job is in no final state", "job", jobs)
    shards = select(Shard.id).where(Shard.state.not_in(FINAL_SHARD_STATES))
    yield from found(session, Verdict.LOST, "a shard is in no final state", "shard", shards)
    final = Job.state.in_(FINAL_JOB_STATES)
    items = select(Item.id).join(Job, Job.id == Item.job_id).where(final, Item.state == ItemState.PENDING)
    yield from found(session, Verdict.LOST, "an item of a job that is over has no outcome", "item", items)
    undated = select(Job.id).where(final, Job.finished_at.is_(None))
    yield from found(session, Verdict.WRONG, "a job that is over has no end", "job", undated)


def _terminal_moves(session: Session) -> Iterator[Finding]:
    of_jobs = _counted(
        select(History.job_id.label("key")).where(History.shard_id.is_(None), History.to_state.in_(FINAL_JOB_STATES)),
        History.job_id,
    )
    final_jobs = select(Job.id).where(Job.state.in_(FINAL_JOB_STATES))
    yield from _once(session, "job", "terminal move", final_jobs, Job.id, of_jobs)
    of_shards = _counted(
        select(History.shard_id.label("key")).where(
            History.shard_id.is_not(None), History.to_state.in_(FINAL_SHARD_STATES)
        ),
        History.shard_id,
    )
    final_shards = select(Shard.id).where(Shard.state.in_(FINAL_SHARD_STATES))
    yield from _once(session, "shard", "terminal move", final_shards, Shard.id, of_shards)


def _submit_events(session: Session) -> Iterator[Finding]:
    events = _counted(
        select(AuditEvent.object_id.label("key")).where(
            AuditEvent.object_kind == "job", AuditEvent.action == "job.submit"
        ),
        AuditEvent.object_id,
    )
    counts: dict[str, int] = {row.key: row.number for row in stream(session, events)}
    jobs = [str(row[0]) for row in stream(session, select(Job.id))]
    none = (f"job {job_id}" for job_id in jobs if job_id not in counts)
    yield from gather(Verdict.LOST, "a job has no job.submit audit event", none)
    more = (f"job {job_id}" for job_id in jobs if counts.get(job_id, 0) > 1)
    yield from gather(Verdict.DOUBLED, "a job has more than one job.submit audit event", more)


def _counted(rows: Select[Any], key: Any) -> Select[Any]:
    return rows.add_columns(func.count().label("number")).group_by(key)


def _once(
    session: Session,
    noun: str,
    what: str,
    all_of_them: Select[Any],
    key: InstrumentedAttribute[Any],
    per_key: Select[Any],
) -> Iterator[Finding]:
    """Each row of `all_of_them` has exactly one of what `per_key` counts."""
    counted = per_key.subquery()
    joined = all_of_them.outerjoin(counted, counted.c.key == key)
    yield from found(session, Verdict.LOST, f"a {noun} has no {what}", noun, joined.where(counted.c.number.is_(None)))
    yield from found(
        session, Verdict.DOUBLED, f"a {noun} has more than one {what}", noun, joined.where(counted.c.number > 1)
    )


def _sums(session: Session) -> Iterator[Finding]:
    def number(state: ItemState) -> Any:
        return func.sum(case((Item.state == state, 1), else_=0))

    true = (
        select(
            Item.job_id.label("job_id"),
            func.count().label("total"),
            number(ItemState.DONE).label("done"),
            number(ItemState.FAILED).label("failed"),
            number(ItemState.SKIPPED).label("skipped"),
            number(ItemState.CANCELLED).label("cancelled"),
            func.sum(case((Item.reused, 1), else_=0)).label("reused"),
        )
        .group_by(Item.job_id)
        .subquery()
    )
    jobs = select(Job.id).outerjoin(true, true.c.job_id == Job.id)
    total = func.coalesce(true.c.total, 0)
    yield from found(
        session, Verdict.LOST, "a job has fewer items than were accepted", "job", jobs.where(total < Job.items_total)
    )
    yield from found(
        session, Verdict.DOUBLED, "a job has more items than were accepted", "job", jobs.where(total > Job.items_total)
    )
    differs = (
        (Job.items_done != true.c.done)
        | (Job.items_failed != true.c.failed)
        | (Job.items_skipped != true.c.skipped)
        | (Job.items_cancelled != true.c.cancelled)
        | (Job.items_reused != true.c.reused)
    )
    yield from found(session, Verdict.WRONG, "a job's sums are not those of its items", "job", jobs.where(differs))


def _open_items_of_patients(session: Session) -> Iterator[Finding]:
    pending = (
        select(Item.job_id, Item.patient_id, func.count().label("number"))
        .where(Item.state == ItemState.PENDING)
        .group_by(Item.job_id, Item.patient_id)
        .subquery()
    )
    said = (
        select(cast(JobPatient.job_id, String) + literal(", patient row ") + cast(JobPatient.patient_id, String))
        .outerjoin(pending, (pending.c.job_id == JobPatient.job_id) & (pending.c.patient_id == JobPatient.patient_id))
        .where(JobPatient.items_open != func.coalesce(pending.c.number, 0))
    )
    yield from found(session, Verdict.WRONG, "a patient's open items in a job are miscounted", "job", said)


def _tallies(session: Session) -> Iterator[Finding]:
    true: Counter[str] = Counter()
    for state, number in session.execute(select(Job.state, func.count()).group_by(Job.state)):
        true[jobs_in(JobState(state))] = number
    shards = select(Shard.lane, Shard.state, func.count()).where(Shard.state.in_(COUNTED_SHARDS))
    for lane, shard_state, number in session.execute(shards.group_by(Shard.lane, Shard.state)):
        true[shards_in(Lane(lane), ShardState(shard_state))] = number
    queued = (Shard.state == ShardState.QUEUED, Item.state == ItemState.PENDING)
    items = select(Shard.lane, func.count()).join(Item, Item.shard_id == Shard.id).where(*queued)
    for lane, number in session.execute(items.group_by(Shard.lane)):
        true[items_queued(Lane(lane))] = number
    said = totals(session)
    differing = (
        f"{name}: counted {said[name]}, there are {true[name]}"
        for name in sorted({*said, *true} - EVENTS)
        if said[name] != true[name]
    )
    yield from gather(Verdict.WRONG, "a counter is not the true number", differing)
