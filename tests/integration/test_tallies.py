"""Counters move with what they count, are the same after folding, and a lane's pace is what was measured."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, insert, select

from scheduler.sweep import sweep
from scheduler.tallies import WORTH_FOLDING, fold_tallies
from shared.clock import utc_now
from shared.db import reading
from shared.models import Pace, Tally
from shared.reasons import Failure
from shared.repositories.claims import put_off, release
from shared.repositories.jobs import request_cancel
from shared.repositories.pace import BUCKET_S, add_pace, last_minute, measured, rate_of
from shared.repositories.tallies import FOLDED_AT_ONCE, count, fold, items_queued, jobs_in, shards_in, totals
from shared.states import JobState, Lane, ShardState
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork
from tests.claimers import commit, take
from tests.conftest import Prepared
from tests.factories import claim, let_leases_run_out, rows_of, submit_job, take_back_all
from tests.invariants import check_invariants


def _counters(engine: Engine) -> dict[str, int]:
    """Those that are not nothing."""
    with reading(engine) as session:
        return {name: value for name, value in totals(session).items() if value}


def _of(job: JobState, *, queued: int = 0, running: int = 0, items: int = 0) -> dict[str, int]:
    """The counters of one job in the routine lane."""
    lane = Lane.ROUTINE
    counters = {
        jobs_in(job): 1,
        shards_in(lane, ShardState.QUEUED): queued,
        shards_in(lane, ShardState.RUNNING): running,
        items_queued(lane): items,
    }
    return {name: value for name, value in counters.items() if value}


def test_counters_follow_a_job_to_its_end(any_prepared: Prepared) -> None:
    engine = any_prepared.engine

    submit_job(engine, 5, shard_items=3)
    assert _counters(engine) == _of(JobState.QUEUED, queued=2, items=5)
    first = take(engine, "worker-1")
    assert first is not None
    assert _counters(engine) == _of(JobState.RUNNING, queued=1, running=1, items=2)
    commit(engine, first, most=2)
    with UnitOfWork(engine) as uow:
        release(uow.session, [first], reason="worker is stopping")
    assert _counters(engine) == _of(JobState.RUNNING, queued=2, items=3)
    for _ in range(2):
        commit(engine, claim(engine))
    assert _counters(engine) == _of(JobState.DONE)
    check_invariants(engine)


def test_counters_follow_a_shard_that_comes_back(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    submit_job(engine, 4)
    put = take(engine, "worker-1")
    assert put is not None

    with UnitOfWork(engine) as uow:
        put_off(uow.session, [put], Failure.TRANSIENT, reason="storage is away", delay_s=0.0)
    assert _counters(engine) == _of(JobState.RUNNING, queued=1, items=4)
    claim(engine)
    let_leases_run_out(engine)
    assert take_back_all(engine) == 1
    assert _counters(engine) == _of(JobState.RUNNING, queued=1, items=4)
    claim(engine)
    let_leases_run_out(engine)
    assert take_back_all(engine, max_crashes=1) == 1
    assert _counters(engine) == _of(JobState.FAILED)
    check_invariants(engine)


def test_counters_forget_what_was_queued_when_a_job_is_cancelled(any_prepared: Prepared) -> None:
    job_id = submit_job(any_prepared.engine, 5, shard_items=2)

    with UnitOfWork(any_prepared.engine) as uow:
        assert request_cancel(uow.session, job_id, actor="user")

    assert _counters(any_prepared.engine) == _of(JobState.CANCELLED)


def test_counters_tell_lanes_apart(any_prepared: Prepared) -> None:
    for lane, items in zip(Lane, (1, 2, 3, 4), strict=True):
        submit_job(any_prepared.engine, items, lane=lane)

    counters = _counters(any_prepared.engine)

    assert [counters[items_queued(lane)] for lane in Lane] == [1, 2, 3, 4]
    assert counters[jobs_in(JobState.QUEUED)] == 4


def test_counter_does_not_move_when_its_transaction_fails(any_prepared: Prepared) -> None:
    def count_and_fail() -> None:
        with UnitOfWork(any_prepared.engine) as uow:
            count(uow.session, {"jobs.queued": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        count_and_fail()

    assert _counters(any_prepared.engine) == {}


def test_folding_keeps_the_sums_in_a_row_each(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    for number in range(30):
        with UnitOfWork(engine) as uow:
            count(uow.session, {"jobs.queued": 1, "jobs.done": -1 if number % 2 else 1, "jobs.failed": number})

    with UnitOfWork(engine) as uow:
        less = fold(uow.session)

    assert _counters(engine) == {"jobs.queued": 30, "jobs.failed": 435}
    with reading(engine) as session:
        # What comes to nothing needs no row.
        assert rows_of(session, Tally) == 2
    assert less == 30 + 30 + 29 - 2


def test_counters_are_right_while_folded_and_added_to_at_once(any_prepared: Prepared) -> None:
    """Several schedulers fold, workers add, and who reads meanwhile never sees a part counted twice or missed."""
    engine, rounds = any_prepared.engine, 12
    with UnitOfWork(engine) as uow:
        count(uow.session, {"steady": 7})

    def add(_: int) -> None:
        for _ in range(rounds):
            with UnitOfWork(engine) as uow:
                count(uow.session, {"jobs.queued": 1, "steady": 1})
                count(uow.session, {"steady": -1})

    def fold_often(_: int) -> None:
        for _ in range(rounds):
            with UnitOfWork(engine) as uow:
                fold(uow.session)

    def look(_: int) -> set[int]:
        return {_counters(engine)["steady"] for _ in range(rounds)}

    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(work, 0) for work in (add, add, fold_often, fold_often)]
        looks = [pool.submit(look, 0) for _ in range(2)]
        for other in others:
            other.result()
        assert {value for looked in looks for value in looked.result()} == {7}

    assert _counters(engine) == {"steady": 7, "jobs.queued": 2 * rounds}


def test_duty_folds_only_what_is_worth_it(any_prepared: Prepared) -> None:
    engine = any_prepared.engine

    def add(rows: int) -> None:
        with UnitOfWork(engine) as uow:
            uow.session.execute(insert(Tally), [{"name": "jobs.done", "value": 1}] * rows)

    add(WORTH_FOLDING)
    assert fold_tallies(engine) == 0
    add(1)
    assert fold_tallies(engine) == WORTH_FOLDING

    assert _counters(engine) == {"jobs.done": WORTH_FOLDING + 1}


def test_fold_leaves_the_rest_to_the_next_when_there_are_very_many(prepared: Prepared) -> None:
    with UnitOfWork(prepared.engine) as uow:
        uow.session.execute(insert(Tally), [{"name": "jobs.done", "value": 1}] * (FOLDED_AT_ONCE + 3))

    assert fold_tallies(prepared.engine) == FOLDED_AT_ONCE - 1

    with reading(prepared.engine) as session:
        assert rows_of(session, Tally) == 4
        assert session.scalar(select(func.sum(Tally.value))) == FOLDED_AT_ONCE + 3


def _bucket(buckets_ago: int) -> datetime:
    now = int(utc_now().timestamp()) // BUCKET_S * BUCKET_S
    return datetime.fromtimestamp(now, UTC) - timedelta(seconds=BUCKET_S * buckets_ago)


def _paces(engine: Engine, items_by_bucket: dict[int, int], lane: Lane = Lane.ROUTINE) -> None:
    with UnitOfWork(engine) as uow:
        for buckets_ago, items in items_by_bucket.items():
            uow.session.add(Pace(lane=lane, at=_bucket(buckets_ago), items=items))


def _early_in_a_bucket() -> None:
    """So that the present bucket is still the present one when it is looked at."""
    while utc_now().timestamp() % BUCKET_S > BUCKET_S / 2:
        time.sleep(0.05)


def test_pace_is_the_mean_of_whole_buckets_with_its_error(any_prepared: Prepared) -> None:
    _early_in_a_bucket()
    _paces(any_prepared.engine, {9: 1000, 8: 30, 7: 50, 6: 40, 0: 500})
    _paces(any_prepared.engine, {8: 20, 7: 0, 6: 10})
    _paces(any_prepared.engine, {8: 7000, 7: 7000, 6: 7000}, lane=Lane.URGENT)

    with reading(any_prepared.engine) as session:
        rate = measured(session)[Lane.ROUTINE]

    # The oldest bucket may have begun late, the present one is not over: 50, 50 and 50 items in 5 s each.
    assert rate is not None
    assert (rate.items_per_s, rate.error) == (10.0, 0.0)


@pytest.mark.parametrize("buckets", [[], [50]])
def test_pace_is_unknown_before_there_are_two_buckets(buckets: list[int]) -> None:
    assert rate_of(buckets) is None


def test_error_is_larger_when_buckets_differ() -> None:
    steady, unsteady = rate_of([48, 52] * 8), rate_of([0, 100] * 8)

    assert steady is not None
    assert unsteady is not None
    assert steady.items_per_s == unsteady.items_per_s == 10.0
    assert 0 < steady.error < unsteady.error / 20
    assert unsteady.error == pytest.approx(10.33 / 4, rel=0.01)


def test_pace_of_the_last_minute_counts_what_was_done_now(any_prepared: Prepared) -> None:
    with UnitOfWork(any_prepared.engine) as uow:
        add_pace(uow.session, Lane.ROUTINE, 90)
        add_pace(uow.session, Lane.ROUTINE, 30)
        add_pace(uow.session, Lane.URGENT, 500)
    _paces(any_prepared.engine, {20: 1000})

    with reading(any_prepared.engine) as session:
        assert last_minute(session, Lane.ROUTINE) == 2.0
        assert last_minute(session, Lane.BACKGROUND) == 0.0


def test_pace_older_than_a_day_is_forgotten(any_prepared: Prepared) -> None:
    _paces(any_prepared.engine, {24 * 3600 // BUCKET_S + 1: 5, 1: 7})

    sweep(any_prepared.engine, ContentStore(any_prepared.settings.store_dir))

    with reading(any_prepared.engine) as session:
        assert session.scalars(select(Pace.items)).all() == [7]
