"""What goes wrong without an item's fault is not counted against it, and rests before it is tried again."""

import pytest
from sqlalchemy import select

from shared.config import Settings
from shared.db import db_now, reading
from shared.errors import StorageUnavailableError
from shared.models import Item, Shard
from shared.reasons import Failure
from shared.repositories.crashes import Loss, take_back_lost
from shared.repositories.items import begin_items
from shared.repositories.jobs import request_cancel
from shared.repositories.shards import Claim
from shared.states import ItemState, JobState, ShardState
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import (
    LOSS,
    claim,
    items_of,
    job_of,
    let_backoffs_run_out,
    let_leases_run_out,
    only_shard,
    submit_job,
    take_back_all,
    tries_of,
)
from tests.fake_worker import FakeRuntime
from tests.invariants import check_invariants
from worker.tasks import infer_next


def _storage_is_away(_: int) -> None:
    raise StorageUnavailableError("the content store failed: a test says so")


def test_transient_failures_never_quarantine_and_rest_longer_each_time_up_to_a_limit(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    job_id = submit_job(engine, 5)
    settings = any_prepared.settings.model_copy(update={"retry_backoff_s": 10.0, "max_backoff_s": 40.0})
    rests = []

    for failures in range(1, 7):
        infer_next(FakeRuntime(settings, engine, _storage_is_away))
        shard = only_shard(any_prepared.engine)
        assert (shard.state, shard.failure, shard.failure_count) == (ShardState.QUEUED, Failure.TRANSIENT, failures)
        assert shard.crash_count == 0
        assert tries_of(any_prepared.engine) == [0] * 5
        rests.append(_rest_s(any_prepared))
        let_backoffs_run_out(engine)

    # Between half and all of 10, 20, 40, 40 ... seconds, less the time that the test takes.
    assert all(whole / 2 - 3 < rest <= whole for rest, whole in zip(rests, [10, 20, 40, 40, 40, 40], strict=True))
    infer_next(FakeRuntime(settings, engine))
    assert job_of(any_prepared.engine, job_id).state is JobState.DONE
    assert only_shard(any_prepared.engine).failure_count == 0
    check_invariants(engine)


def _rest_s(prepared: Prepared) -> float:
    with reading(prepared.engine) as session:
        row = session.execute(select(Shard.not_before, db_now())).one()
        return float((row[0] - row[1]).total_seconds())


def _run_until_told_to_stop(prepared: Prepared, settings: Settings) -> None:
    """A worker that gets TERM as it decodes its first instance."""
    runtime = FakeRuntime(settings, prepared.engine, lambda number: runtime.stopping.set())
    infer_next(runtime)


def test_tries_are_taken_back_when_a_worker_stops_gracefully(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine, 12)
    settings = any_prepared.settings.model_copy(update={"commit_items": 2})

    for _ in range(4):
        _run_until_told_to_stop(any_prepared, settings)
        shard = only_shard(any_prepared.engine)
        assert (shard.state, shard.attempt, shard.crash_count) == (ShardState.QUEUED, 0, 0)
        with reading(any_prepared.engine) as session:
            assert set(session.scalars(select(Item.tries).where(Item.state == ItemState.PENDING))) == {0}

    assert sum(tries_of(any_prepared.engine)) == 8
    check_invariants(any_prepared.engine)


def _begin_all(prepared: Prepared, claimed: Claim) -> list[int]:
    items = items_of(prepared.engine, claimed)
    with UnitOfWork(prepared.engine) as uow:
        begin_items(uow.session, items)
    return items


@pytest.mark.parametrize("innocent", [True, False])
def test_owner_that_lost_its_engine_says_whether_the_items_were_at_fault(
    any_prepared: Prepared, innocent: bool
) -> None:
    submit_job(any_prepared.engine, 3)
    claimed = claim(any_prepared.engine)
    items = _begin_all(any_prepared, claimed)

    with UnitOfWork(any_prepared.engine) as uow:
        begun = items if innocent else ()
        assert take_back_lost(uow.session, claimed, LOSS, max_crashes=3, delay_s=0.0, begun=begun)

    assert tries_of(any_prepared.engine) == [0 if innocent else 1] * 3
    check_invariants(any_prepared.engine)


def test_late_owner_that_lost_its_engine_changes_nothing(any_prepared: Prepared) -> None:
    """The tries are those of the attempt that runs now."""
    submit_job(any_prepared.engine, 3)
    late = claim(any_prepared.engine, "late")
    let_leases_run_out(any_prepared.engine)
    assert take_back_all(any_prepared.engine) == 1
    items = _begin_all(any_prepared, claim(any_prepared.engine, "present"))

    with UnitOfWork(any_prepared.engine) as uow:
        assert not take_back_lost(uow.session, late, LOSS, max_crashes=3, delay_s=0.0, begun=items)

    assert tries_of(any_prepared.engine) == [1] * 3
    assert only_shard(any_prepared.engine).owner == "present"


def test_timeout_is_recorded_as_such(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine, 2)
    claimed = claim(any_prepared.engine)
    loss = Loss(Failure.TIMEOUT, "the engine hung", "worker-1", {"signal": "timeout"})

    with UnitOfWork(any_prepared.engine) as uow:
        assert take_back_lost(uow.session, claimed, loss, max_crashes=3, delay_s=0.0)

    shard = only_shard(any_prepared.engine)
    assert (shard.failure, shard.evidence) == (Failure.TIMEOUT, {"signal": "timeout"})


def test_killer_is_quarantined_in_a_cancelled_job_and_its_neighbours_are_cancelled(any_prepared: Prepared) -> None:
    job_id = submit_job(any_prepared.engine, 3)
    claimed = claim(any_prepared.engine)
    items = _begin_all(any_prepared, claimed)
    with UnitOfWork(any_prepared.engine) as uow:
        begin_items(uow.session, items[:1])
        begin_items(uow.session, items[:1])
        assert request_cancel(uow.session, job_id, actor="user")
    let_leases_run_out(any_prepared.engine)

    assert take_back_all(any_prepared.engine) == 1

    job = job_of(any_prepared.engine, job_id)
    assert (job.state, job.items_failed, job.items_cancelled) == (JobState.CANCELLED, 1, 2)
    check_invariants(any_prepared.engine)
