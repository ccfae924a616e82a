"""Workers that write of the same things at the same moment wait for each other on PostgreSQL, and never deadlock."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

from shared.db import make_engine, reading
from shared.models import History, Instance, Shard
from shared.repositories.predictions import NewPrediction, Provenance, add_predictions
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import add_model, index_headers, let_backoffs_run_out, make_header, submit_job
from tests.fake_worker import FakeRuntime
from tests.invariants import check_invariants
from worker.tasks import infer_next

ROUNDS = 100
INSTANCES = 16


@pytest.fixture
def engines(postgres_prepared: Prepared) -> Iterator[list[Engine]]:
    """Of two workers."""
    both = [make_engine(postgres_prepared.settings) for _ in range(2)]
    yield both
    for one in both:
        one.dispose()


@pytest.fixture
def troubles(engines: Sequence[Engine]) -> Counter[str]:
    """Whatever the database refuses either of them, by class."""
    seen: Counter[str] = Counter()

    def note(context: Any) -> None:
        seen[type(context.original_exception).__name__] += 1

    for one in engines:
        event.listen(one, "handle_error", note)
    return seen


def _at_once(*acts: Callable[[], None]) -> None:
    threads = [threading.Thread(target=act) for act in acts]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def test_predictions_of_the_same_instances_come_in_two_orders(
    engines: Sequence[Engine], troubles: Counter[str]
) -> None:
    with UnitOfWork(engines[0]) as uow:
        provenance = Provenance(add_model(uow.session).digest, "keras", "float32")
        ids = index_headers(uow.session, [make_header() for _ in range(ROUNDS * INSTANCES)])
        blobs = uow.session.scalars(select(Instance.blob_sha256).where(Instance.id.in_(ids))).all()
    start = threading.Barrier(2)

    def write(engine: Engine, step: int) -> None:
        for at in range(0, len(blobs), INSTANCES):
            some = [NewPrediction(sha256, 1, [0.5]) for sha256 in blobs[at : at + INSTANCES][::step]]
            start.wait(timeout=30)
            with UnitOfWork(engine) as uow:
                add_predictions(uow.session, some, provenance)

    _at_once(lambda: write(engines[0], 1), lambda: write(engines[1], -1))

    assert troubles == {}


def test_outcomes_of_the_same_jobs_come_under_several_fences(
    postgres_prepared: Prepared,
    engines: Sequence[Engine],
    troubles: Counter[str],
) -> None:
    """Two jobs of two small shards each, of which one was given back before, so that its fence is one more."""
    jobs = [submit_job(engines[0], items, shard_items=1) for items in (1, 2, 2)]
    with UnitOfWork(engines[0]) as uow:
        shards = [
            uow.session.scalars(select(Shard).where(Shard.job_id == job).order_by(Shard.id)).all() for job in jobs
        ]
        in_turn = [(shards[1][0], 0), (shards[2][0], 1), (shards[0][0], 0), (shards[1][1], 1), (shards[2][1], 0)]
        for turn, (shard, fence) in enumerate(in_turn):
            shard.turn, shard.fence = turn, fence

    def linger(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE job SET items_done"):
            time.sleep(0.3)

    for one in engines:
        event.listen(one, "after_cursor_execute", linger)

    def work(at: int, shards_at_once: int) -> None:
        time.sleep(0.1 * at)  # the first claims first
        changes = {"shard_items": shards_at_once, "commit_items": shards_at_once}
        infer_next(FakeRuntime(postgres_prepared.settings.model_copy(update=changes), engines[at]))

    _at_once(lambda: work(0, 2), lambda: work(1, 3))

    assert troubles == {}
    with reading(engines[0]) as session:
        reasons = Counter(session.scalars(select(History.reason).where(History.shard_id.is_not(None))))
    assert reasons == {"": 5, "claimed": 5, "finished": 5}


def test_shards_of_the_same_jobs_are_ended_by_two_workers(
    postgres_prepared: Prepared, engines: Sequence[Engine], troubles: Counter[str]
) -> None:
    """Made under a smaller OVERREAD_SHARD_ITEMS, and mixed among each other as where users take turns."""
    settings = postgres_prepared.settings.model_copy(update={"shard_items": 16, "commit_items": 8})
    for _ in range(5):
        jobs = [submit_job(engines[0], 12, patients=3, shard_items=1) for _ in range(8)]
        with UnitOfWork(engines[0]) as uow:
            statement = select(Shard).where(Shard.job_id.in_(jobs)).order_by(Shard.id)
            for number, shard in enumerate(uow.session.scalars(statement)):
                shard.turn = number % 12
        _at_once(*(lambda one=one: infer_next(FakeRuntime(settings, one)) for one in engines))  # type: ignore[misc]
        let_backoffs_run_out(engines[0])

    assert troubles == {}
    check_invariants(engines[0])
