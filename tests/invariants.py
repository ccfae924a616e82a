"""What must hold of jobs, shards, items and history at every commit, whatever happened before."""

from collections import Counter, defaultdict
from itertools import pairwise

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from shared.db import reading
from shared.models import History, Item, Job, JobPatient, Shard
from shared.states import FINAL_JOB_STATES, JOB_MOVES, SHARD_MOVES, ItemState, JobState, ShardState


def check_invariants(engine: Engine) -> None:
    """Fail where sums and items, or states and history, do not say the same."""
    with reading(engine) as session:
        for job in session.scalars(select(Job)).all():
            _check_sums(session, job)
        _check_patients(session)
        _check_shards(session)
        _check_history(session)


def _check_sums(session: Session, job: Job) -> None:
    statement = select(Item.state, func.count(), func.count().filter(Item.reused)).where(Item.job_id == job.id)
    counts: Counter[ItemState] = Counter()
    reused = 0
    for state, number, number_reused in session.execute(statement.group_by(Item.state)):
        counts[state] = number
        reused += number_reused
    assert counts.total() == job.items_total
    assert counts[ItemState.DONE] == job.items_done
    assert counts[ItemState.FAILED] == job.items_failed
    assert counts[ItemState.CANCELLED] == job.items_cancelled
    assert reused == job.items_reused
    is_final = job.state in FINAL_JOB_STATES
    assert is_final == (job.finished_at is not None)
    assert is_final == (counts[ItemState.PENDING] == 0)
    if job.cancel_requested_at is not None:
        assert job.state in (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED)


def _check_patients(session: Session) -> None:
    still_open = (
        select(func.count())
        .where(
            Item.job_id == JobPatient.job_id, Item.patient_id == JobPatient.patient_id, Item.state == ItemState.PENDING
        )
        .scalar_subquery()
    )
    for said, true in session.execute(select(JobPatient.items_open, still_open)):
        assert said == true


def _check_shards(session: Session) -> None:
    pending = select(func.count()).where(Item.shard_id == Shard.id, Item.state == ItemState.PENDING).scalar_subquery()
    for shard, number in session.execute(select(Shard, pending)):
        is_running = shard.state is ShardState.RUNNING
        assert is_running == (shard.owner is not None) == (shard.lease_until is not None)
        if not SHARD_MOVES[shard.state]:
            assert number == 0


def _check_history(session: Session) -> None:
    """Each move has one row, is legal, begins where the last one ended; the last ends at the present state."""
    chains: dict[object, list[tuple[str | None, str]]] = defaultdict(list)
    for row in session.scalars(select(History).order_by(History.id)):
        chains[row.shard_id or row.job_id].append((row.from_state, row.to_state))
    present: dict[object, str] = dict(session.execute(select(Job.id, Job.state)).all())
    present |= dict(session.execute(select(Shard.id, Shard.state)).all())
    assert chains.keys() == present.keys()
    for key, moves in chains.items():
        legal = SHARD_MOVES if isinstance(key, int) else JOB_MOVES
        state_of = ShardState if isinstance(key, int) else JobState
        assert moves[0] == (None, "queued")
        for (_, before), (after_before, after) in pairwise(moves):
            assert before == after_before
            assert state_of(after) in legal[state_of(before)]
        assert moves[-1][1] == present[key]
