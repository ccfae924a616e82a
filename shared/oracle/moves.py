"""History is a chain of legal moves of each job and shard, from queued to where it stands."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from sqlalchemy import String, cast, func, select
from sqlalchemy.orm import Session

from shared.models import History, Job, Shard
from shared.oracle.findings import Finding, Verdict, found, gather, stream
from shared.states import JOB_MOVES, SHARD_MOVES, JobState, ShardState


def check_moves(session: Session) -> Iterator[Finding]:
    """Each move begins where the one before ended and is in the table; the last one ends at the present state."""
    key = (History.job_id, History.shard_id)
    before = func.lag(History.to_state).over(partition_by=key, order_by=History.id)
    chain = select(
        History.id.label("id"),
        History.from_state.label("from_state"),
        History.to_state.label("to_state"),
        before.label("before"),
        History.shard_id.is_not(None).label("is_shard"),
    ).subquery()
    columns = chain.c
    kinds = select(
        columns.from_state, columns.to_state, columns.before, columns.is_shard, func.min(columns.id)
    ).group_by(columns.from_state, columns.to_state, columns.before, columns.is_shard)
    illegal = (f"history {row[4]} ({row[0]} to {row[1]})" for row in stream(session, kinds) if not _is_legal(*row[:4]))
    yield from gather(Verdict.WRONG, "a move is not legal, or does not begin where the last one ended", illegal)
    yield from _present(session)


def _is_legal(from_state: str | None, to_state: str, before: str | None, is_shard: bool) -> bool:
    if from_state is None:
        return before is None and to_state == JobState.QUEUED
    if from_state != before:
        return False
    states: type[StrEnum] = ShardState if is_shard else JobState
    legal: Any = SHARD_MOVES if is_shard else JOB_MOVES
    return states(to_state) in legal[states(from_state)]


def _present(session: Session) -> Iterator[Finding]:
    ranked = select(
        History.job_id.label("job_id"),
        History.shard_id.label("shard_id"),
        History.to_state.label("to_state"),
        func.row_number()
        .over(partition_by=(History.job_id, History.shard_id), order_by=History.id.desc())
        .label("place"),
    ).subquery()
    last = select(ranked).where(ranked.c.place == 1).subquery()
    # As text: the databases keep states as text, and a state of a job is none of a shard.
    jobs = (
        select(Job.id)
        .outerjoin(last, (last.c.job_id == Job.id) & last.c.shard_id.is_(None))
        .where(func.coalesce(last.c.to_state, "") != cast(Job.state, String))
    )
    yield from found(session, Verdict.WRONG, "a job's history ends elsewhere", "job", jobs)
    shards = (
        select(Shard.id)
        .outerjoin(last, last.c.shard_id == Shard.id)
        .where(func.coalesce(last.c.to_state, "") != cast(Shard.state, String))
    )
    yield from found(session, Verdict.WRONG, "a shard's history ends elsewhere", "shard", shards)
