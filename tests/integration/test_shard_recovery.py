"""Lost shards come back with a backoff, are set aside after too many crashes, and are moved once however many look."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Event

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from scheduler.recovery import recover_shards
from shared.config import Settings
from shared.db import db_now, make_engine, reading
from shared.errors import FencedOutError, StorageUnavailableError
from shared.models import History, Item, Job, JobPatient, Prediction, Shard
from shared.outage import is_outage
from shared.reasons import Failure, Reason
from shared.repositories.claims import hold, release
from shared.repositories.crashes import OUTSIDE_PATIENCE, expired, take_back_expired
from shared.repositories.jobs import request_cancel
from shared.states import FINAL_JOB_STATES, ItemState, JobState, ShardState
from shared.unit_of_work import UnitOfWork
from tests.claimers import commit, end_cancelled, take
from tests.conftest import Prepared
from tests.factories import (
    LOSS,
    claim,
    let_backoffs_run_out,
    let_lease_run_out,
    let_leases_run_out,
    rows_of,
    submit_job,
)
from tests.fake_worker import FakeRuntime
from tests.invariants import check_invariants
from worker.tasks import infer_next

QUICK = {"retry_backoff_s": 0.0, "duty_interval_s": 0.01}


def _quick(prepared: Prepared, **changes: object) -> Settings:
    return prepared.settings.model_copy(update=QUICK | changes)


def _recover(prepared: Prepared, settings: Settings | None = None) -> int:
    let_leases_run_out(prepared.engine)
    return recover_shards(prepared.engine, settings or prepared.settings)


def _crash_until_set_aside(prepared: Prepared) -> None:
    for _ in range(prepared.settings.max_crashes * OUTSIDE_PATIENCE):
        let_backoffs_run_out(prepared.engine)
        claim(prepared.engine)
        assert _recover(prepared) == 1


def test_lost_shard_is_queued_with_a_backoff_that_doubles(any_prepared: Prepared) -> None:
    engine, settings = any_prepared.engine, any_prepared.settings
    submit_job(engine)
    rests = []

    for _ in range(settings.max_crashes - 1):
        let_backoffs_run_out(engine)
        claim(engine)
        assert _recover(any_prepared) == 1
        with reading(engine) as session:
            shard, now = session.execute(select(Shard, db_now())).one()
            assert shard.state is ShardState.QUEUED
            rests.append((shard.not_before - now).total_seconds())

    assert 1.0 - 0.5 <= rests[0] <= 2.0
    assert 2.0 - 0.5 <= rests[1] <= 4.0
    assert shard.crash_count == 2
    assert take(engine, "too early") is None
    check_invariants(engine)


def test_live_shard_is_left_alone(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine)
    claim(any_prepared.engine)

    assert recover_shards(any_prepared.engine, any_prepared.settings) == 0


def test_shard_is_quarantined_when_it_lost_its_worker_too_often(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    job_id = submit_job(engine, 3, patients=2)

    _crash_until_set_aside(any_prepared)

    with reading(engine) as session:
        assert session.scalars(select(Shard.state)).all() == [ShardState.QUARANTINED]
        assert set(session.scalars(select(Item.reason))) == {Reason.WORKER_CRASHED}
        assert set(session.scalars(select(JobPatient.items_open))) == {0}
        job = session.get_one(Job, job_id)
        assert (job.state, job.items_failed) == (JobState.FAILED, 3)
        last = session.scalars(select(History).where(History.shard_id.is_not(None)).order_by(History.id.desc())).first()
        assert last is not None
        assert (last.to_state, last.items_open, last.attempt) == (ShardState.QUARANTINED, 3, 3 * OUTSIDE_PATIENCE)
    assert take(engine, "late") is None
    check_invariants(engine)


def test_job_is_partial_when_one_shard_is_quarantined_and_another_done(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    job_id = submit_job(engine, 4, shard_items=2)
    commit(engine, claim(engine))

    _crash_until_set_aside(any_prepared)

    with reading(engine) as session:
        job = session.get_one(Job, job_id)
        assert (job.state, job.items_done, job.items_failed) == (JobState.PARTIAL, 2, 2)
    check_invariants(engine)


def test_each_lost_shard_moves_once_when_schedulers_race(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    submit_job(engine, 12, shard_items=1)
    for _ in range(12):
        claim(engine)
    let_leases_run_out(engine)
    together = Barrier(4)

    def look(_: int) -> int:
        together.wait()
        return recover_shards(engine, any_prepared.settings)

    with ThreadPoolExecutor(4) as pool:
        moved = list(pool.map(look, range(4)))

    assert sum(moved) == 12
    with reading(engine) as session:
        assert rows_of(session, History, History.reason == "lease ran out") == 12
        assert set(session.scalars(select(Shard.crash_count))) == {1}
    check_invariants(engine)


def test_take_back_moves_nothing_when_the_lease_was_extended_meanwhile(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    submit_job(engine, 2)
    claimed = claim(engine)
    let_leases_run_out(engine)
    with reading(engine) as session:
        (seen_as_lost,) = expired(session, 10)
    commit(engine, claimed, most=1)

    with UnitOfWork(engine) as uow:
        moved = take_back_expired(uow.session, seen_as_lost, LOSS, max_crashes=3, delay_s=0.0)

    assert not moved
    commit(engine, claimed)
    check_invariants(engine)


def test_recovery_goes_on_when_a_worker_is_stopped_within_a_transaction(postgres_prepared: Prepared) -> None:
    """It keeps the lock of the shard's row; SQLite has one lock for all, which only its end gives back."""
    settings = postgres_prepared.settings.model_copy(update={"database_timeout_s": 0.25})
    stopped = make_engine(settings)
    submit_job(postgres_prepared.engine, 2)
    claimed = claim(postgres_prepared.engine, lease_s=-1.0)

    def go_on_only_after_recovery() -> None:
        with UnitOfWork(stopped) as uow:
            hold(uow.session, [claimed], -1.0)
            assert recover_shards(postgres_prepared.engine, settings) == 1

    with pytest.raises(DBAPIError) as caught:
        go_on_only_after_recovery()

    assert is_outage(caught.value)
    with reading(postgres_prepared.engine) as session:
        assert session.scalars(select(Shard.state)).one() is ShardState.QUEUED
    stopped.dispose()
    check_invariants(postgres_prepared.engine)


def test_history_keeps_the_beginning_of_a_long_reason(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine, 1)
    claimed = claim(any_prepared.engine)

    with UnitOfWork(any_prepared.engine) as uow:
        assert release(uow.session, [claimed], reason="because " * 100)

    with reading(any_prepared.engine) as session:
        last = session.scalars(select(History.reason).order_by(History.id.desc())).first()
    assert last is not None
    assert last.startswith("because because")


def test_lost_shard_is_cancelled_when_its_job_was(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    job_id = submit_job(engine)
    claim(engine)
    with UnitOfWork(engine) as uow:
        assert request_cancel(uow.session, job_id, actor="user")

    assert _recover(any_prepared) == 1

    with reading(engine) as session:
        assert session.get_one(Job, job_id).state is JobState.CANCELLED
        assert session.scalars(select(Shard.state)).all() == [ShardState.CANCELLED]
    check_invariants(engine)


def test_queued_shard_is_cancelled_when_it_was_given_back_to_a_cancelled_job(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    job_id = submit_job(engine)
    claimed = claim(engine)
    with UnitOfWork(engine) as uow:
        assert request_cancel(uow.session, job_id, actor="user")
    with UnitOfWork(engine) as uow:
        assert release(uow.session, [claimed], reason="worker is stopping")

    moved = recover_shards(engine, any_prepared.settings)

    assert moved == 1
    with reading(engine) as session:
        assert session.get_one(Job, job_id).state is JobState.CANCELLED
    assert recover_shards(engine, any_prepared.settings) == 0
    check_invariants(engine)


def test_worker_drops_its_results_when_its_shard_was_taken_back(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    submit_job(engine, 4)

    def lose_lease(number: int) -> None:
        if number == 1:
            _recover(any_prepared)

    infer_next(FakeRuntime(any_prepared.settings, engine, lose_lease))

    with reading(engine) as session:
        assert session.scalars(select(Shard.state)).all() == [ShardState.QUEUED]
        assert set(session.scalars(select(Item.state))) == {ItemState.PENDING}
        assert rows_of(session, Prediction) == 0
    check_invariants(engine)


def test_worker_gives_its_shard_back_with_what_is_left_when_it_stops(any_prepared: Prepared) -> None:
    engine, settings = any_prepared.engine, any_prepared.settings.model_copy(update={"commit_items": 2})
    submit_job(engine, 8)
    runtime = FakeRuntime(settings, engine)
    runtime.decoder._before_each = lambda number: runtime.stopping.set()  # type: ignore[attr-defined]

    infer_next(runtime)

    with reading(engine) as session:
        shard = session.scalars(select(Shard)).one()
        assert (shard.state, shard.crash_count, shard.owner) == (ShardState.QUEUED, 0, None)
        assert rows_of(session, Item, Item.state == ItemState.DONE) == 2
    infer_next(FakeRuntime(settings, engine))
    with reading(engine) as session:
        assert rows_of(session, Item, Item.state == ItemState.DONE) == rows_of(session, Prediction) == 8
    check_invariants(engine)


def _storage_is_away(number: int) -> None:
    raise StorageUnavailableError("the content store failed: a test says so")


def _unforeseen(number: int) -> None:
    raise ZeroDivisionError


def test_worker_gives_its_shard_back_with_a_rest_when_storage_fails(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine)

    infer_next(FakeRuntime(any_prepared.settings, any_prepared.engine, _storage_is_away))

    with reading(any_prepared.engine) as session:
        shard, now = session.execute(select(Shard, db_now())).one()
        assert (shard.state, shard.crash_count) == (ShardState.QUEUED, 0)
        assert shard.not_before - now > timedelta(seconds=1)
    check_invariants(any_prepared.engine)


def test_shard_counts_a_crash_when_its_worker_meets_the_unforeseen(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine)
    runtime = FakeRuntime(any_prepared.settings, any_prepared.engine, _unforeseen)

    infer_next(runtime)

    assert runtime.held() == []
    with reading(any_prepared.engine) as session:
        shard = session.scalars(select(Shard)).one()
        assert (shard.state, shard.crash_count, shard.failure) == (ShardState.QUEUED, 1, Failure.CRASH)
        assert set(session.scalars(select(Item.tries))) == {1}
    check_invariants(any_prepared.engine)


class _Turmoil:
    """Workers of which many die silently or come late, schedulers, and a user who cancels, all at once."""

    def __init__(self, prepared: Prepared) -> None:
        self.engine = prepared.engine
        self.settings = _quick(prepared)
        self.jobs = [submit_job(self.engine, 8, patients=3, shard_items=2) for _ in range(4)]
        self.to_cancel = self.jobs[:2]
        self.over = Event()

    def work(self, chance: random.Random) -> None:
        claimed = take(self.engine, f"worker-{chance.random()}")
        if claimed is None or chance.random() < 0.2:
            return
        if chance.random() < 0.2:
            let_lease_run_out(self.engine, claimed.shard_id)
        try:
            commit(self.engine, claimed, most=1)
            if chance.random() < 0.8:
                commit(self.engine, claimed)
        except FencedOutError:
            end_cancelled(self.engine, claimed)

    def recover(self, chance: random.Random) -> None:
        let_lease_run_out(self.engine, chance.randint(1, 16))
        recover_shards(self.engine, self.settings)

    def cancel(self, chance: random.Random) -> None:
        with UnitOfWork(self.engine) as uow:
            request_cancel(uow.session, chance.choice(self.to_cancel), actor="user")

    def watch(self, chance: random.Random) -> None:
        if set(self.states()) <= FINAL_JOB_STATES:
            self.over.set()

    def states(self) -> list[JobState]:
        with reading(self.engine) as session:
            return [session.get_one(Job, job_id).state for job_id in self.jobs]

    def go_on(self, act: Callable[[random.Random], None], seed: int) -> None:
        chance, deadline = random.Random(seed), time.monotonic() + 60.0
        try:
            while not self.over.is_set() and time.monotonic() < deadline:
                act(chance)
                self.over.wait(0.01)
        finally:
            self.over.set()


def test_every_job_ends_once_when_workers_die_and_users_cancel(any_prepared: Prepared) -> None:
    turmoil = _Turmoil(any_prepared)
    acts = [*[turmoil.work] * 5, *[turmoil.recover] * 2, turmoil.cancel, turmoil.watch]

    with ThreadPoolExecutor(len(acts)) as pool:
        for future in [pool.submit(turmoil.go_on, act, seed) for seed, act in enumerate(acts)]:
            future.result()

    assert set(turmoil.states()) <= FINAL_JOB_STATES
    assert JobState.CANCELLED in turmoil.states()[:2]
    assert JobState.CANCELLED not in turmoil.states()[2:]
    check_invariants(any_prepared.engine)
