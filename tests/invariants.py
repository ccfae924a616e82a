"""What must hold of jobs, shards, items, counters and history at every commit, whatever happened before."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from shared.db import reading
from shared.models import History, Instance, Item, Job, JobPatient, Shard
from shared.repositories.tallies import COUNTED_SHARDS, EVENTS, items_queued, jobs_in, shards_in, totals
from shared.states import FINAL_JOB_STATES, JOB_MOVES, SHARD_MOVES, ItemState, JobState, ShardState

# Columns, not entities: the tests look after every step.
JOB = (
    *(Job.id, Job.state, Job.cancel_requested_at, Job.finished_at),
    *(Job.items_total, Job.items_done, Job.items_failed, Job.items_skipped, Job.items_cancelled, Job.items_reused),
)
SHARD = (
    *(Shard.id, Shard.lane, Shard.state, Shard.owner, Shard.lease_until, Shard.attempt, Shard.fence),
    *(Shard.crash_count, Shard.failure_count, Shard.failure, Shard.evidence),
)
ITEM = (
    *(Item.id, Item.job_id, Item.shard_id, Item.instance_id, Item.patient_id, Item.state, Item.reason, Item.reused),
    *(Item.tries, Item.fence, Item.quarantined, Item.evidence),
)


class _Move(NamedTuple):
    before: str | None
    after: str
    fence: int


def check_invariants(engine: Engine) -> None:
    """Fail where sums and items, counters and rows, or states and history do not say the same."""
    with reading(engine) as session:
        jobs, shards = session.execute(select(*JOB)).all(), session.execute(select(*SHARD)).all()
        items = session.execute(select(*ITEM)).all()
        _check_jobs(jobs, items)
        _check_patients(session, items)
        _check_shards(shards, items)
        _check_items(session, items, {shard.id: shard.fence for shard in shards})
        _check_tallies(session, jobs, shards, items)
        _check_history(session, {job.id: job.state for job in jobs} | {shard.id: shard.state for shard in shards})


def _check_jobs(jobs: Sequence[Any], items: Sequence[Any]) -> None:
    counts: dict[object, Counter[ItemState]] = defaultdict(Counter)
    reused: Counter[object] = Counter()
    for item in items:
        counts[item.job_id][item.state] += 1
        reused[item.job_id] += item.reused
    for job in jobs:
        count = counts[job.id]
        assert count.total() == job.items_total
        assert count[ItemState.DONE] == job.items_done
        assert count[ItemState.FAILED] == job.items_failed
        assert count[ItemState.SKIPPED] == job.items_skipped
        assert count[ItemState.CANCELLED] == job.items_cancelled
        assert reused[job.id] == job.items_reused
        is_final = job.state in FINAL_JOB_STATES
        assert is_final == (job.finished_at is not None)
        assert is_final == (count[ItemState.PENDING] == 0)
        if job.cancel_requested_at is not None:
            assert job.state in (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED)


def _check_patients(session: Session, items: Sequence[Any]) -> None:
    still_open = Counter((item.job_id, item.patient_id) for item in items if item.state is ItemState.PENDING)
    for row in session.execute(select(JobPatient.job_id, JobPatient.patient_id, JobPatient.items_open)):
        assert row.items_open == still_open[row.job_id, row.patient_id]


def _check_shards(shards: Sequence[Any], items: Sequence[Any]) -> None:
    pending = Counter(item.shard_id for item in items if item.state is ItemState.PENDING)
    for shard in shards:
        is_running = shard.state is ShardState.RUNNING
        assert is_running == (shard.owner is not None) == (shard.lease_until is not None)
        assert min(shard.attempt, shard.crash_count, shard.failure_count) >= 0
        assert shard.attempt <= shard.fence
        if not SHARD_MOVES[shard.state]:
            assert pending[shard.id] == 0
        if shard.state is ShardState.QUARANTINED:
            assert shard.failure is not None
            assert shard.evidence


def _check_items(session: Session, items: Sequence[Any], fences: dict[int, int]) -> None:
    """Tries never fall below nothing, fences are such as the shard has had, and what is quarantined has evidence."""
    for item in items:
        assert item.tries >= 0
        if item.fence is not None:
            assert 0 < item.fence <= fences[item.shard_id]
        assert item.quarantined == (item.evidence is not None)
    quarantined = [item for item in items if item.quarantined]
    for item in quarantined:
        assert item.state is ItemState.FAILED
        assert item.reason is not None
        assert "signal" in item.evidence
    wanted = select(Instance.id, Instance.blob_sha256).where(Instance.id.in_(item.instance_id for item in quarantined))
    digests = dict(session.execute(wanted).all()) if quarantined else {}
    assert all(item.evidence["sha256"] == digests[item.instance_id] for item in quarantined)


def _check_tallies(session: Session, jobs: Sequence[Any], shards: Sequence[Any], items: Sequence[Any]) -> None:
    """Every counter of what can be counted is what counting gives."""
    true = Counter(jobs_in(job.state) for job in jobs)
    true += Counter(shards_in(shard.lane, shard.state) for shard in shards if shard.state in COUNTED_SHARDS)
    lane_of = {shard.id: shard.lane for shard in shards if shard.state is ShardState.QUEUED}
    still_open = [item for item in items if item.state is ItemState.PENDING and item.shard_id in lane_of]
    true += Counter(items_queued(lane_of[item.shard_id]) for item in still_open)
    assert {name: value for name, value in totals(session).items() if value and name not in EVENTS} == dict(true)


def _check_history(session: Session, present: dict[object, str]) -> None:
    """Each move has one row, is legal, begins where the last one ended; the last ends at the present state."""
    chains: dict[object, list[_Move]] = defaultdict(list)
    rows = select(History.job_id, History.shard_id, History.from_state, History.to_state, History.fence)
    for row in session.execute(rows.order_by(History.id)):
        chains[row.shard_id or row.job_id].append(_Move(row.from_state, row.to_state, row.fence))
    assert chains.keys() == present.keys()
    for key, moves in chains.items():
        _check_moves(moves, is_shard=isinstance(key, int))
        assert moves[-1].after == present[key]


def _check_moves(moves: Sequence[_Move], *, is_shard: bool) -> None:
    legal = SHARD_MOVES if is_shard else JOB_MOVES
    state_of = ShardState if is_shard else JobState
    assert moves[0][:2] == (None, "queued")
    for earlier, later in pairwise(moves):
        assert earlier.after == later.before
        assert state_of(later.after) in legal[state_of(earlier.after)]
        assert later.fence >= earlier.fence
        if later.after == ShardState.RUNNING and is_shard:
            assert later.fence > earlier.fence
