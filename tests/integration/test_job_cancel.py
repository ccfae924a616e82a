"""Cancelling: what is queued ends at once, what runs at its next write, and what is over stays as it ended."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import event, select, update

from shared.clock import utc_now
from shared.db import reading
from shared.errors import FencedOutError
from shared.models import History, Item, Job, JobPatient, Prediction, Shard
from shared.reasons import Reason
from shared.repositories.claims import finish
from shared.repositories.job_moves import settle_jobs
from shared.repositories.jobs import request_cancel
from shared.states import ItemState, JobState, ShardState
from shared.unit_of_work import UnitOfWork
from tests.claimers import commit, end_cancelled, take, work_until_empty
from tests.conftest import Api, Prepared
from tests.factories import claim, rows_of, submit_job
from tests.fake_worker import FakeRuntime
from tests.invariants import check_invariants
from tests.waiting import add_worker
from worker.tasks import infer_next


def _cancel(prepared: Prepared, job_id: UUID) -> bool:
    with UnitOfWork(prepared.engine) as uow:
        return request_cancel(uow.session, job_id, actor="user")


def _job(prepared: Prepared, job_id: UUID) -> Job:
    with reading(prepared.engine) as session:
        return session.get_one(Job, job_id)


def test_queued_job_ends_at_once_when_it_is_cancelled(any_prepared: Prepared) -> None:
    job_id, other = submit_job(any_prepared.engine, 5, patients=2, shard_items=2), submit_job(any_prepared.engine)

    cancelled = _cancel(any_prepared, job_id)

    assert cancelled
    job = _job(any_prepared, job_id)
    assert (job.state, job.items_cancelled, job.started_at) == (JobState.CANCELLED, 5, None)
    with reading(any_prepared.engine) as session:
        of_job = Item.job_id == job_id
        assert set(session.scalars(select(Item.reason).where(of_job))) == {Reason.CANCELLED}
        assert set(session.scalars(select(JobPatient.items_open).where(JobPatient.job_id == job_id))) == {0}
        assert rows_of(session, Shard, Shard.job_id == job_id, Shard.state == ShardState.CANCELLED) == 3
        reasons = session.scalars(select(History.actor).where(History.to_state == ShardState.CANCELLED))
        assert set(reasons) == {"user"}
    assert claim(any_prepared.engine).job_id == other
    check_invariants(any_prepared.engine)


def test_running_job_ends_with_its_owners_next_write_when_it_is_cancelled(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    job_id = submit_job(engine, 8, shard_items=4)
    running = take(engine, "worker-1")
    assert running is not None
    commit(engine, running, most=1)

    cancelled = _cancel(any_prepared, job_id)

    assert cancelled
    assert _job(any_prepared, job_id).state is JobState.RUNNING
    with pytest.raises(FencedOutError):
        commit(engine, running)
    assert end_cancelled(engine, running)
    job = _job(any_prepared, job_id)
    assert (job.state, job.items_done, job.items_cancelled) == (JobState.CANCELLED, 1, 7)
    assert not end_cancelled(engine, running)
    check_invariants(engine)


def test_worker_keeps_what_it_committed_when_its_job_is_cancelled(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    job_id = submit_job(engine, 40)
    settings = any_prepared.settings.model_copy(update={"commit_items": 2})

    def cancel_midway(number: int) -> None:
        if number == 10:
            _cancel(any_prepared, job_id)

    infer_next(FakeRuntime(settings, engine, cancel_midway))

    job = _job(any_prepared, job_id)
    assert job.state is JobState.CANCELLED
    assert 0 < job.items_done <= 20
    assert job.items_done + job.items_cancelled == 40
    with reading(engine) as session:
        assert session.scalars(select(Shard.state)).all() == [ShardState.CANCELLED]
        assert rows_of(session, Prediction) == job.items_done
    check_invariants(engine)


@pytest.mark.parametrize("items", [0, 4], ids=["without_items", "all_done"])
def test_finished_job_stays_as_it_is_when_it_is_cancelled(any_prepared: Prepared, items: int) -> None:
    job_id = submit_job(any_prepared.engine, items)
    work_until_empty(any_prepared.engine, "worker-1")

    cancelled = _cancel(any_prepared, job_id)

    assert not cancelled
    job = _job(any_prepared, job_id)
    assert (job.state, job.cancel_requested_at) == (JobState.DONE, None)
    check_invariants(any_prepared.engine)


def test_cancel_keeps_its_first_time_when_it_is_asked_again(any_prepared: Prepared) -> None:
    job_id = submit_job(any_prepared.engine)
    claim(any_prepared.engine)
    assert _cancel(any_prepared, job_id)
    first = _job(any_prepared, job_id).cancel_requested_at

    again = _cancel(any_prepared, job_id)

    assert again
    assert _job(any_prepared, job_id).cancel_requested_at == first


def test_job_is_not_done_when_all_its_items_were_but_it_was_cancelled_first(any_prepared: Prepared) -> None:
    """The owner's last write: everything has an outcome already, only the finishing moves are left."""
    engine = any_prepared.engine
    job_id = submit_job(engine, 4, shard_items=2)
    last = claim(engine)
    commit(engine, claim(engine))
    _cancel(any_prepared, job_id)

    assert end_cancelled(engine, last)

    assert _job(any_prepared, job_id).state is JobState.CANCELLED
    check_invariants(engine)


def test_cancelled_job_never_becomes_done_when_cancel_and_last_write_race(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    jobs = [submit_job(engine, 2, shard_items=1) for _ in range(12)]

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work_until_empty, engine, f"worker-{number}") for number in range(3)]
        cancelled = [job_id for job_id in jobs if _cancel(any_prepared, job_id)]
        for worker in workers:
            worker.result()

    states = {job_id: _job(any_prepared, job_id).state for job_id in jobs}
    assert {states[job_id] for job_id in cancelled} <= {JobState.CANCELLED}
    assert {states[job_id] for job_id in jobs if job_id not in cancelled} <= {JobState.DONE}
    check_invariants(engine)


def test_settling_waits_for_a_cancel_that_is_being_written(postgres_prepared: Prepared) -> None:
    """The sums were committed before, so only the settling move is left: it must see the cancel that came first."""
    engine = postgres_prepared.engine
    job_id = submit_job(engine, 2)
    claimed = claim(engine)
    with UnitOfWork(engine) as uow:
        uow.session.execute(update(Item).values(state=ItemState.DONE))
        uow.session.execute(update(Job).values(items_done=2))
        uow.session.execute(update(JobPatient).values(items_open=0))

    def settle() -> dict[UUID, JobState]:
        with UnitOfWork(engine) as uow:
            finish(uow.session, [claimed])
            return settle_jobs(uow.session, [job_id], actor="worker-1")

    with ThreadPoolExecutor(1) as pool:
        with UnitOfWork(engine) as uow:
            uow.session.execute(update(Job).values(cancel_requested_at=utc_now()))
            settled = pool.submit(settle)
            with pytest.raises(TimeoutError):
                settled.result(timeout=0.5)
        after = settled.result(timeout=30)

    assert after == {job_id: JobState.CANCELLED}


def test_large_job_is_cancelled_in_a_few_statements(any_prepared: Prepared) -> None:
    job_id = submit_job(any_prepared.engine, 30, patients=30, shard_items=5)
    statements: list[str] = []
    event.listen(any_prepared.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    _cancel(any_prepared, job_id)

    assert sum("UPDATE item" in statement for statement in statements) == 1
    assert sum("UPDATE job_patient" in statement for statement in statements) == 1


def test_cancel_answers_409_when_the_job_is_over(any_api: Api) -> None:
    engine = any_api.prepared.engine
    queued, over = submit_job(engine), submit_job(engine, 0)

    first = any_api.post(f"/api/v1/jobs/{queued}/cancel")
    second = any_api.post(f"/api/v1/jobs/{queued}/cancel")
    third = any_api.post(f"/api/v1/jobs/{over}/cancel")

    assert (first.status_code, first.json["state"]) == (202, "cancelled")
    assert first.json["counts"]["cancelled"] == 4
    assert second.status_code == third.status_code == 409
    assert "cancelled already" in second.json["detail"]
    assert "done already" in third.json["detail"]


def test_cancel_of_a_running_job_says_what_it_waits_for(any_api: Api) -> None:
    job_id = submit_job(any_api.prepared.engine, 8, shard_items=4)
    take(any_api.prepared.engine, "worker-1")
    add_worker(any_api.prepared.engine)

    answer = any_api.post(f"/api/v1/jobs/{job_id}/cancel").json

    assert (answer["state"], answer["counts"]["cancelled"]) == ("running", 4)
    assert answer["cancel_requested_at"]
    assert "cancel was requested" in answer["waiting"]
    assert answer["waits_for"] == ["cancel_requested"]
