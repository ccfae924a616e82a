"""A worker whose threads are all busy gives a shard back after a window when something more urgent waits."""

from collections.abc import Callable
from uuid import UUID

from sqlalchemy import select

from shared.db import reading
from shared.models import History, Item, Job, Shard
from shared.repositories.lanes import pause_lane
from shared.states import ItemState, JobState, Lane, ShardState
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import admin_id, rows_of, submit_job
from tests.fake_worker import FakeRuntime
from tests.invariants import check_invariants
from worker.tasks import infer_next

YIELDED = "yields to a more urgent lane"


def _worker(
    prepared: Prepared, before_each: Callable[[int], None], *, threads: int = 1, **changes: object
) -> FakeRuntime:
    """Of as many threads, one of which works here."""
    changes = {"commit_items": 2, "decode_processes": 1, "worker_concurrency": threads} | changes
    return FakeRuntime(prepared.settings.model_copy(update=changes), prepared.engine, before_each)


def _moves(prepared: Prepared, job_id: UUID) -> list[tuple[str, str]]:
    """Where the job's only shard went, and why."""
    with reading(prepared.engine) as session:
        of_shard = (History.job_id == job_id, History.shard_id.is_not(None))
        rows = session.execute(select(History.to_state, History.reason).where(*of_shard).order_by(History.id))
        return [(row.to_state, row.reason) for row in rows]


def _times_yielded(prepared: Prepared, job_id: UUID) -> int:
    return _moves(prepared, job_id).count(("queued", YIELDED))


def _run_with_urgent_arriving(prepared: Prepared, *, lane: Lane = Lane.BACKGROUND, threads: int = 1) -> list[UUID]:
    """A worker on a shard of 12 items in `lane`, and an urgent one that comes as the first is decoded."""
    jobs = [submit_job(prepared.engine, 12, lane=lane)]

    def urgent_arrives(number: int) -> None:
        if number == 1:
            jobs.append(submit_job(prepared.engine, 2, lane=Lane.URGENT))

    infer_next(_worker(prepared, urgent_arrives, threads=threads))
    with reading(prepared.engine) as session:
        assert [session.get_one(Job, job_id).state for job_id in jobs] == [JobState.DONE] * 2
    check_invariants(prepared.engine)
    return jobs


def test_worker_yields_when_an_urgent_shard_arrives_and_no_thread_is_free(any_prepared: Prepared) -> None:
    background, urgent = _run_with_urgent_arriving(any_prepared)

    assert [state for state, _ in _moves(any_prepared, background)] == [
        "queued",
        "running",
        "queued",
        "running",
        "done",
    ]
    assert _times_yielded(any_prepared, background) == 1
    with reading(any_prepared.engine) as session:
        ends = session.execute(select(Item.job_id, Item.finished_at).order_by(Item.finished_at, Item.id))
        order = [row.job_id for row in ends]
    # One window of two was in hand.
    assert order == [background] * 2 + [urgent] * 2 + [background] * 10


def test_attempt_and_tries_do_not_count_when_a_worker_yields(any_prepared: Prepared) -> None:
    background, _ = _run_with_urgent_arriving(any_prepared)

    with reading(any_prepared.engine) as session:
        shard = session.scalars(select(Shard).where(Shard.job_id == background)).one()
        assert (shard.attempt, shard.crash_count, shard.failure_count, shard.failure) == (1, 0, 0, None)
        assert session.scalars(select(Item.tries)).all() == [1] * 14


def test_nothing_is_begun_twice_over_when_a_shard_waits_after_a_yield(any_prepared: Prepared) -> None:
    """While it lies in its queue, none of its open items counts as begun: nobody takes them for suspects."""
    background = submit_job(any_prepared.engine, 12, lane=Lane.BACKGROUND)

    def urgent_arrives(number: int) -> None:
        if number == 1:
            submit_job(any_prepared.engine, 2, lane=Lane.URGENT)
        if number > 4:
            open_tries.append(_open_tries(any_prepared, background))

    open_tries: list[set[int]] = []
    runtime = _worker(any_prepared, urgent_arrives, worker_lanes="urgent,background")
    infer_next(runtime)

    assert open_tries[0] == {0}


def _open_tries(prepared: Prepared, job_id: UUID) -> set[int]:
    with reading(prepared.engine) as session:
        return set(session.scalars(select(Item.tries).where(Item.job_id == job_id, Item.state == ItemState.PENDING)))


def test_routine_yields_to_urgent_but_not_to_background(any_prepared: Prepared) -> None:
    routine, _ = _run_with_urgent_arriving(any_prepared, lane=Lane.ROUTINE)
    assert _times_yielded(any_prepared, routine) == 1

    def background_arrives(number: int) -> None:
        if number == 1:
            submit_job(any_prepared.engine, 2, lane=Lane.BACKGROUND)

    urgent = submit_job(any_prepared.engine, 12, lane=Lane.URGENT)
    infer_next(_worker(any_prepared, background_arrives))

    assert _times_yielded(any_prepared, urgent) == 0


def test_worker_does_not_yield_when_a_thread_is_free(any_prepared: Prepared) -> None:
    background, _ = _run_with_urgent_arriving(any_prepared, threads=2)

    assert _times_yielded(any_prepared, background) == 0


def test_worker_does_not_yield_to_a_lane_that_it_does_not_serve(any_prepared: Prepared) -> None:
    background = submit_job(any_prepared.engine, 12, lane=Lane.BACKGROUND)

    def urgent_arrives(number: int) -> None:
        if number == 1:
            submit_job(any_prepared.engine, 2, lane=Lane.URGENT)

    infer_next(_worker(any_prepared, urgent_arrives, worker_lanes="routine,background"))

    assert _times_yielded(any_prepared, background) == 0


def test_worker_does_not_yield_to_a_lane_that_is_paused(any_prepared: Prepared) -> None:
    background = submit_job(any_prepared.engine, 12, lane=Lane.BACKGROUND)
    with UnitOfWork(any_prepared.engine) as uow:
        pause_lane(uow.session, Lane.URGENT, principal_id=admin_id(uow.session), reason="a test says so")

    def urgent_arrives(number: int) -> None:
        if number == 1:
            submit_job(any_prepared.engine, 2, lane=Lane.URGENT)

    infer_next(_worker(any_prepared, urgent_arrives))

    assert _times_yielded(any_prepared, background) == 0
    with reading(any_prepared.engine) as session:
        assert rows_of(session, Shard, Shard.state == ShardState.QUEUED) == 1


def test_background_shard_moves_when_urgent_ones_never_end(any_prepared: Prepared) -> None:
    """It has its turn one time in 5 here, and gets a window done before it yields again."""
    background = submit_job(any_prepared.engine, 4, lane=Lane.BACKGROUND)
    submit_job(any_prepared.engine, 2, lane=Lane.URGENT)

    def urgent_arrives(number: int) -> None:
        if _open_tries(any_prepared, background) and number < 100:
            submit_job(any_prepared.engine, 2, lane=Lane.URGENT)

    infer_next(_worker(any_prepared, urgent_arrives, weight_urgent=3, weight_routine=1, shard_items=2))

    with reading(any_prepared.engine) as session:
        ended = select(History.job_id).where(History.shard_id.is_not(None), History.to_state == ShardState.DONE)
        order = session.scalars(ended.order_by(History.id)).all()
    # Its two windows are the 4th and the 9th turn. How much was decoded ahead of a yield, and dropped, is not counted.
    assert order.index(background) == 7
    assert _times_yielded(any_prepared, background) == 1
    check_invariants(any_prepared.engine)
