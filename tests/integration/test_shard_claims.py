"""A shard has one owner at a time: claims are unique, in order, fenced, and leased by the database's clock."""

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from shared.clock import utc_now
from shared.db import db_now, reading
from shared.errors import FencedOutError
from shared.models import History, Item, Job, Shard
from shared.reasons import Failure
from shared.repositories.claims import claim_next, finish, hold, put_off, release
from shared.repositories.crashes import expired
from shared.repositories.items import pending_items
from shared.repositories.outcomes import record_outcomes
from shared.states import ItemState, JobState, Lane, ShardState
from shared.unit_of_work import UnitOfWork
from tests.claimers import commit, take, work_until_empty
from tests.conftest import Prepared
from tests.factories import claim, done, let_leases_run_out, rows_of, submit_job, take_back_all
from tests.invariants import check_invariants

NUM_THREADS = 6


def _shard(prepared: Prepared, shard_id: int) -> Shard:
    with reading(prepared.engine) as session:
        return session.get_one(Shard, shard_id)


def _retake(prepared: Prepared) -> None:
    """Recovery takes the only running shard back."""
    let_leases_run_out(prepared.engine)
    assert take_back_all(prepared.engine) == 1


def test_claims_are_unique_when_threads_race(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    jobs = [submit_job(engine, 10, shard_items=1) for _ in range(3)]

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        claimed = list(pool.map(lambda number: work_until_empty(engine, f"thread-{number}"), range(NUM_THREADS)))

    times_claimed = Counter(shard for shards in claimed for shard in shards)
    assert len(times_claimed) == 30
    assert set(times_claimed.values()) == {1}
    with reading(engine) as session:
        assert [session.get_one(Job, job_id).state for job_id in jobs] == [JobState.DONE] * 3
        assert session.scalars(select(Shard.attempt)).all() == [1] * 30
    check_invariants(engine)


def test_claims_are_unique_when_processes_race(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine, 60, shard_items=2)
    environment = os.environ | any_prepared.settings.environment()

    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.claimers"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=120) for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], answers
    assert "locked" not in "".join(error for _, error in answers)
    shards = [shard for claimed, _ in answers for shard in json.loads(claimed)]
    assert len(shards) == len(set(shards)) == 30
    check_invariants(any_prepared.engine)


def test_claim_raises_attempt_and_fence_by_one_when_it_takes_a_shard(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine)

    first = claim(any_prepared.engine)
    _retake(any_prepared)
    second = claim(any_prepared.engine)

    assert (first.attempt, first.fence) == (1, 1)
    assert (second.attempt, second.fence) == (2, 3)
    check_invariants(any_prepared.engine)


def test_attempt_does_not_count_when_the_shard_was_released(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine)

    first = claim(any_prepared.engine)
    with UnitOfWork(any_prepared.engine) as uow:
        assert release(uow.session, [first], reason="worker is stopping")
    second = claim(any_prepared.engine)

    assert (first.attempt, first.fence) == (1, 1)
    assert (second.attempt, second.fence) == (1, 2)
    check_invariants(any_prepared.engine)


def test_claim_takes_the_oldest_shard_of_its_lane_only(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    older, urgent, newer = submit_job(engine), submit_job(engine, lane=Lane.URGENT), submit_job(engine)

    claims = [claim(engine, lane=lane) for lane in (Lane.ROUTINE, Lane.URGENT, Lane.ROUTINE)]

    assert [one.job_id for one in claims] == [older, urgent, newer]
    assert take(engine, "late", Lane.BACKGROUND) is None


def test_claim_returns_none_when_the_shard_rests(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine)
    claimed = claim(any_prepared.engine)
    with UnitOfWork(any_prepared.engine) as uow:
        put_off(uow.session, [claimed], Failure.TRANSIENT, reason="storage is away", delay_s=60.0)

    assert take(any_prepared.engine, "worker-2") is None


def test_job_starts_once_when_several_shards_are_claimed(any_prepared: Prepared) -> None:
    job_id = submit_job(any_prepared.engine, 4, shard_items=2)

    take(any_prepared.engine, "worker-1")
    take(any_prepared.engine, "worker-2")

    with reading(any_prepared.engine) as session:
        job = session.get_one(Job, job_id)
        assert job.state is JobState.RUNNING
        assert job.started_at is not None
        assert rows_of(session, History, History.shard_id.is_(None), History.to_state == JobState.RUNNING) == 1


@pytest.mark.parametrize("reclaimed", [False, True], ids=["queued_again", "claimed_again"])
def test_late_owner_changes_nothing_when_its_shard_was_taken_back(any_prepared: Prepared, reclaimed: bool) -> None:
    engine = any_prepared.engine
    submit_job(engine)
    late = claim(engine, "late")
    _retake(any_prepared)
    if reclaimed:
        claim(engine, "new")
    before = vars(_shard(any_prepared, late.shard_id))
    assert before["fence"] == (3 if reclaimed else 2)

    with pytest.raises(FencedOutError), UnitOfWork(engine) as uow:
        hold(uow.session, [late], 1000.0)
    with pytest.raises(FencedOutError):
        commit(engine, late)
    with UnitOfWork(engine) as uow:
        assert not finish(uow.session, [late])
        assert not release(uow.session, [late], reason="late")

    after = vars(_shard(any_prepared, late.shard_id))
    assert {name: after[name] for name in after if name[0] != "_"} == {
        name: before[name] for name in before if name[0] != "_"
    }
    with reading(engine) as session:
        assert rows_of(session, Item, Item.state == ItemState.PENDING) == 4
    check_invariants(engine)


def test_commit_leaves_nothing_when_the_fence_fails_midway(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    submit_job(engine)
    late = claim(engine, "late")
    with reading(engine) as session:
        items = [item.item_id for item in pending_items(session, [late.shard_id])]
    _retake(any_prepared)

    def write_then_check() -> None:
        with UnitOfWork(engine) as uow:
            record_outcomes(uow.session, {late.fence: done(items)})
            hold(uow.session, [late], 60.0)

    with pytest.raises(FencedOutError):
        write_then_check()

    with reading(engine) as session:
        assert rows_of(session, Item, Item.state == ItemState.DONE) == 0
    check_invariants(engine)


def test_finish_refuses_when_items_are_pending(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine)
    claimed = claim(any_prepared.engine)

    with UnitOfWork(any_prepared.engine) as uow:
        finished = finish(uow.session, [claimed])

    assert not finished
    assert _shard(any_prepared, claimed.shard_id).state is ShardState.RUNNING


def test_shard_claimed_again_goes_on_from_what_was_committed(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    submit_job(engine, 5)
    commit(engine, claim(engine, "first"), most=2)
    _retake(any_prepared)

    second = claim(engine, "second")

    with reading(engine) as session:
        assert len(pending_items(session, [second.shard_id])) == 3
    commit(engine, second)
    assert _shard(any_prepared, second.shard_id).state is ShardState.DONE
    check_invariants(engine)


@pytest.mark.parametrize("hours", [-24, 24])
def test_lease_holds_when_the_hosts_clock_is_a_day_off(
    any_prepared: Prepared, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = utc_now() + timedelta(hours=hours)
    for name, module in list(sys.modules.items()):
        if name.startswith(("shared.", "scheduler.")) and hasattr(module, "utc_now"):
            monkeypatch.setattr(module, "utc_now", lambda: wrong)
    submit_job(any_prepared.engine)

    claimed = claim(any_prepared.engine, lease_s=60.0)

    with reading(any_prepared.engine) as session:
        until, now = session.execute(select(Shard.lease_until, db_now()).where(Shard.id == claimed.shard_id)).one()
        assert timedelta(seconds=30) < until - now <= timedelta(seconds=60)
        assert expired(session, 10) == []
    let_leases_run_out(any_prepared.engine)
    with reading(any_prepared.engine) as session:
        assert [shard.id for shard in expired(session, 10)] == [claimed.shard_id]


def test_hold_extends_the_lease_when_the_shard_is_ours(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine)
    claimed = claim(any_prepared.engine, lease_s=1.0)
    before = _shard(any_prepared, claimed.shard_id).lease_until

    with UnitOfWork(any_prepared.engine) as uow:
        hold(uow.session, [claimed], 60.0)

    after = _shard(any_prepared, claimed.shard_id).lease_until
    assert before is not None
    assert after is not None
    assert after - before > timedelta(seconds=30)


def test_claim_returns_none_when_all_lanes_are_empty(any_prepared: Prepared) -> None:
    with UnitOfWork(any_prepared.engine) as uow:
        assert claim_next(uow.session, list(Lane), "worker-1", 60.0, most_items=64) == []
