"""Small shards are claimed, worked on and committed together, and none costs its neighbours anything."""

from collections import Counter
from concurrent.futures import Future
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import event, select, update

from shared.db import reading
from shared.models import HeatMap, History, Instance, Item, Job, Prediction, Shard
from shared.reasons import Reason
from shared.repositories.claims import claim_next
from shared.repositories.jobs import request_cancel
from shared.repositories.registry import champion
from shared.repositories.shards import Claim
from shared.states import Explain, ItemState, JobState, Lane, MapMethod, NoMap, ShardState
from shared.unit_of_work import UnitOfWork
from tests.claimers import LEASE_S
from tests.conftest import Prepared
from tests.factories import (
    MODEL,
    add_model,
    let_backoffs_run_out,
    let_lease_run_out,
    let_leases_run_out,
    rows_of,
    submit_job,
    take_back_all,
)
from tests.fake_worker import FakeRuntime, WorkerDied
from tests.invariants import check_invariants
from worker.engines.maps import FrameMaps
from worker.inference.batch import FramePrediction
from worker.tasks import infer_next

MOST = 8


def _claim(prepared: Prepared, most_items: int = MOST) -> list[Claim]:
    with UnitOfWork(prepared.engine) as uow:
        return claim_next(uow.session, [Lane.ROUTINE], "worker-1", LEASE_S, most_items=most_items)


def _worker(prepared: Prepared, *given: Any, window: int = 2, **more: Any) -> FakeRuntime:
    """In windows of so many items, decoded one after the other."""
    settings = prepared.settings.model_copy(update={"commit_items": window, "decode_processes": 1})
    return FakeRuntime(settings, prepared.engine, *given, **more)


def _jobs_of(claims: list[Claim]) -> set[UUID]:
    return {claim.job_id for claim in claims}


def _states(prepared: Prepared) -> Counter[JobState]:
    with reading(prepared.engine) as session:
        return Counter(session.scalars(select(Job.state)))


def _states_when_read(prepared: Prepared, job_id: UUID) -> tuple[JobState, int]:
    with reading(prepared.engine) as session:
        job = session.get_one(Job, job_id)
        return job.state, job.items_done


def test_small_shards_are_claimed_together_up_to_so_many_items(any_prepared: Prepared) -> None:
    jobs = [submit_job(any_prepared.engine, 2) for _ in range(6)]

    first, second, third = (_claim(any_prepared) for _ in range(3))

    assert _jobs_of(first) == set(jobs[:4])
    assert _jobs_of(second) == set(jobs[4:])
    assert third == []
    check_invariants(any_prepared.engine)


def test_large_shard_is_claimed_alone(any_prepared: Prepared) -> None:
    large, small = submit_job(any_prepared.engine, 5), submit_job(any_prepared.engine, 1)

    assert _jobs_of(_claim(any_prepared)) == {large}
    assert _jobs_of(_claim(any_prepared)) == {small}


def test_larger_shard_is_not_taken_with_a_small_one(any_prepared: Prepared) -> None:
    small = [submit_job(any_prepared.engine, 1)]
    large = submit_job(any_prepared.engine, 2)
    small.append(submit_job(any_prepared.engine, 1))

    assert _jobs_of(_claim(any_prepared)) == set(small)
    assert _jobs_of(_claim(any_prepared)) == {large}


@pytest.mark.parametrize("other", ["model", "generation", "explain"])
def test_shards_are_taken_together_only_for_the_same_work(any_prepared: Prepared, other: str) -> None:
    engine = any_prepared.engine
    first = submit_job(engine, 1)
    with UnitOfWork(engine) as uow:
        model = add_model(uow.session, "another")
        usual = champion(uow.session, MODEL)
        assert usual is not None
        differs = {"model": {"model_version_id": model.id}, "generation": {"generation": 1}}
        differs["explain"] = {"explain": Explain.ALL}
    second = submit_job(engine, 1, **differs[other])
    third = submit_job(engine, 1)

    assert _jobs_of(_claim(any_prepared)) == {first, third}
    assert _jobs_of(_claim(any_prepared)) == {second}


def test_shard_of_another_lane_is_not_taken_along(any_prepared: Prepared) -> None:
    first = submit_job(any_prepared.engine, 1)
    submit_job(any_prepared.engine, 1, lane=Lane.BACKGROUND)

    assert _jobs_of(_claim(any_prepared)) == {first}


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("column", ["crash_count", "failure_count"])
def test_shard_that_has_failed_is_claimed_alone(any_prepared: Prepared, failing: int, column: str) -> None:
    jobs = [submit_job(any_prepared.engine, 1) for _ in range(3)]
    with UnitOfWork(any_prepared.engine) as uow:
        uow.session.execute(update(Shard).where(Shard.job_id == jobs[failing]).values({column: 1}))

    claims = [_jobs_of(_claim(any_prepared)) for _ in range(2)]

    alone, others = {jobs[failing]}, {*jobs} - {jobs[failing]}
    assert claims == ([alone, others] if failing == 0 else [others, alone])


def test_small_jobs_take_few_transactions(prepared: Prepared) -> None:
    for _ in range(48):
        submit_job(prepared.engine, 1)
    commits: list[None] = []
    event.listen(prepared.engine, "commit", lambda _: commits.append(None))

    infer_next(FakeRuntime(prepared.settings, prepared.engine))

    assert _states(prepared) == {JobState.DONE: 48}
    # One claim, three windows of 16, one begin, one look that finds nothing.
    assert len(commits) <= 8
    check_invariants(prepared.engine)


def test_neighbours_are_predicted_when_one_of_the_jobs_is_cancelled(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    jobs = [submit_job(engine, 1) for _ in range(6)]

    def cancel(number: int) -> None:
        if number == 1:
            with UnitOfWork(engine) as uow:
                assert request_cancel(uow.session, jobs[4], actor="user")

    infer_next(_worker(any_prepared, cancel))

    assert _states_when_read(any_prepared, jobs[4]) == (JobState.CANCELLED, 0)
    assert _states(any_prepared) == {JobState.DONE: 5, JobState.CANCELLED: 1}
    with reading(engine) as session:
        assert rows_of(session, Prediction) == 5
        assert session.scalars(select(Item.reason).where(Item.state == ItemState.CANCELLED)).all() == [Reason.CANCELLED]
    check_invariants(engine)


def test_neighbours_are_predicted_when_one_shard_was_taken_back(any_prepared: Prepared) -> None:
    """What this worker still had of it is thrown away; the next attempt predicts it."""
    engine = any_prepared.engine
    jobs = [submit_job(engine, 1) for _ in range(6)]

    def take_one_back(number: int) -> None:
        if number == 1:
            with reading(engine) as session:
                shard_id = session.execute(select(Shard.id).where(Shard.job_id == jobs[1])).scalar_one()
            let_lease_run_out(engine, shard_id)
            assert take_back_all(engine, delay_s=1000.0) == 1

    infer_next(_worker(any_prepared, take_one_back))

    assert _states_when_read(any_prepared, jobs[1]) == (JobState.RUNNING, 0)
    assert _states(any_prepared) == {JobState.DONE: 5, JobState.RUNNING: 1}
    check_invariants(engine)
    let_backoffs_run_out(engine)
    infer_next(_worker(any_prepared))
    assert _states(any_prepared) == {JobState.DONE: 6}
    check_invariants(engine)


def test_killer_among_small_jobs_is_quarantined_and_no_neighbour_with_it(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    jobs = [submit_job(engine, 1) for _ in range(12)]
    with reading(engine) as session:
        statement = select(Item.id, Instance.blob_sha256).join(Instance, Instance.id == Item.instance_id)
        killer, killing = session.execute(statement.where(Item.job_id == jobs[3])).one()

    def die(sha256: str) -> None:
        if sha256 == killing:
            raise WorkerDied

    for _ in range(3):
        with pytest.raises(WorkerDied):
            infer_next(_worker(any_prepared, decoding=die))
        let_leases_run_out(engine)
        take_back_all(engine)
        let_backoffs_run_out(engine)
    infer_next(_worker(any_prepared, decoding=die))

    assert _states(any_prepared) == {JobState.DONE: 11, JobState.FAILED: 1}
    assert _states_when_read(any_prepared, jobs[3]) == (JobState.FAILED, 0)
    with reading(engine) as session:
        (item,) = session.scalars(select(Item).where(Item.quarantined))
        assert (item.id, item.reason) == (killer, Reason.WORKER_CRASHED)
        assert rows_of(session, Shard, Shard.state == ShardState.QUARANTINED) == 0
    check_invariants(engine)


def test_shards_given_back_together_take_back_what_had_begun(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    for _ in range(6):
        submit_job(engine, 1)
    runtime = _worker(any_prepared, lambda number: runtime.stopping.set() if number == 1 else None, window=1)

    infer_next(runtime)

    with reading(engine) as session:
        open_tries = session.scalars(select(Item.tries).where(Item.state == ItemState.PENDING)).all()
        attempts = session.scalars(select(Shard.attempt).where(Shard.state == ShardState.QUEUED)).all()
    assert open_tries == [0] * 5
    assert attempts == [0] * 5
    check_invariants(engine)


@pytest.mark.parametrize(("cancelled", "when"), [(slice(0, 4), "loading"), (slice(4, 8), "decoding")])
def test_those_behind_are_predicted_when_a_whole_window_is_cancelled(
    any_prepared: Prepared, cancelled: slice, when: str
) -> None:
    """Two windows of two: nothing is in hand then, and yet others follow."""
    engine = any_prepared.engine
    jobs = [submit_job(engine, 1) for _ in range(12)]

    def cancel() -> None:
        with UnitOfWork(engine) as uow:
            for job in jobs[cancelled]:
                request_cancel(uow.session, job, actor="user")

    loading = cancel if when == "loading" else lambda: None
    decoding = (lambda number: cancel() if number == 1 else None) if when == "decoding" else lambda _: None
    infer_next(_worker(any_prepared, decoding, loading=loading))

    assert _states(any_prepared) == {JobState.DONE: 8, JobState.CANCELLED: 4}
    with reading(engine) as session:
        assert rows_of(session, Shard, Shard.state == ShardState.RUNNING) == 0
    check_invariants(engine)


def test_neighbours_are_predicted_when_a_job_with_a_heat_map_is_cancelled(
    any_prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = any_prepared.engine
    jobs = [submit_job(engine, 1) for _ in range(6)]

    def cancel(number: int) -> None:
        if number == 1:
            with UnitOfWork(engine) as uow:
                request_cancel(uow.session, jobs[0], actor="user")

    def predict(*_: Any, **__: Any) -> "Future[FramePrediction]":
        future: Future[FramePrediction] = Future()
        maps = FrameMaps(MapMethod.CAM, {}, {0: NoMap.HEAD})
        future.set_result(FramePrediction(np.asarray([0.9], np.float32), "stand-in", "float32", 1, maps=maps))
        return future

    runtime = _worker(any_prepared, cancel)
    monkeypatch.setattr(runtime.engines, "predict", predict)
    infer_next(runtime)

    assert _states(any_prepared) == {JobState.DONE: 5, JobState.CANCELLED: 1}
    with reading(engine) as session:
        assert rows_of(session, HeatMap) == 5
        reasons = session.scalars(select(History.reason).where(History.shard_id.is_not(None)))
        assert not [reason for reason in reasons if reason.startswith("unforeseen")]
    check_invariants(engine)
