"""What kills workers is found by name and set aside, while its neighbours get their predictions."""

from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import select

from scheduler.recovery import recover_shards
from shared.db import reading
from shared.errors import EngineLostError
from shared.models import Instance, Item, Prediction
from shared.reasons import Failure, Reason
from shared.repositories.crashes import OUTSIDE_PATIENCE
from shared.repositories.items import begin_items
from shared.states import ItemState, JobState, ShardState
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import (
    claim,
    items_of,
    job_of,
    let_backoffs_run_out,
    let_leases_run_out,
    only_shard,
    rows_of,
    submit_job,
    take_back_all,
    tries_of,
)
from tests.fake_worker import FakeRuntime, WorkerDied
from tests.invariants import check_invariants
from worker.tasks import infer_next


def _die() -> None:
    raise WorkerDied


class _Host:
    """A machine on which workers are started again as often as they die of what they decode."""

    def __init__(self, prepared: Prepared, killers: Sequence[str] = (), **changes: object) -> None:
        self.prepared = prepared
        self.settings = prepared.settings.model_copy(update={"decode_processes": 1} | changes)
        self.killers = set(killers)
        self.decoded: list[list[str]] = []

    def run_worker(self, loading: Callable[[], None] = lambda: None) -> bool:
        """Until nothing is due; True when it died. Its silence is noticed at once, and backoffs are over."""
        self.decoded.append([])
        runtime = FakeRuntime(self.settings, self.prepared.engine, decoding=self._decode, loading=loading)
        try:
            infer_next(runtime)
        except WorkerDied:
            let_leases_run_out(self.prepared.engine)
            assert recover_shards(self.prepared.engine, self.settings) == 1
            return True
        finally:
            let_backoffs_run_out(self.prepared.engine)
        return False

    def _decode(self, sha256: str) -> None:
        self.decoded[-1].append(sha256)
        if sha256 in self.killers:
            raise WorkerDied


def _digests(prepared: Prepared) -> list[str]:
    """The bytes of the instances, in the order of the items."""
    with reading(prepared.engine) as session:
        statement = select(Instance.blob_sha256).join(Item, Item.instance_id == Instance.id).order_by(Item.id)
        return list(session.scalars(statement))


@pytest.mark.parametrize("position", [0, 7, 19])
def test_instance_is_quarantined_when_three_workers_died_of_it(any_prepared: Prepared, position: int) -> None:
    job_id = submit_job(any_prepared.engine, 20, patients=4)
    killer = _digests(any_prepared)[position]
    host = _Host(any_prepared, [killer])

    assert [host.run_worker() for _ in range(4)] == [True, True, True, False]

    with reading(any_prepared.engine) as session:
        (item,) = session.scalars(select(Item).where(Item.quarantined)).all()
        assert (item.state, item.reason, item.tries) == (ItemState.FAILED, Reason.WORKER_CRASHED, 3)
        assert item.evidence is not None
        assert (item.evidence["sha256"], item.evidence["tries"]) == (killer, 3)
        assert item.evidence["signal"]
        assert rows_of(session, Item, Item.state == ItemState.DONE) == rows_of(session, Prediction) == 19
    job = job_of(any_prepared.engine, job_id)
    assert (job.state, job.items_done, job.items_failed) == (JobState.PARTIAL, 19, 1)
    assert only_shard(any_prepared.engine).state is ShardState.DONE
    check_invariants(any_prepared.engine)


def test_what_had_begun_is_suspected_when_a_worker_died(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine, 8)
    host = _Host(any_prepared, [_digests(any_prepared)[3]], commit_items=2)

    assert host.run_worker()

    # The first window of two was committed, two more had begun, and two had not.
    assert tries_of(any_prepared.engine) == [1, 1, 1, 1, 1, 1, 0, 0]
    with reading(any_prepared.engine) as session:
        assert rows_of(session, Item, Item.state == ItemState.DONE) == 2


def test_suspects_are_tried_one_by_one_before_the_others(any_prepared: Prepared) -> None:
    """Each has its outcome committed before the next begins; then the others come a window at a time."""
    engine = any_prepared.engine
    submit_job(engine, 8)
    digests = _digests(any_prepared)
    items = items_of(any_prepared.engine, claim(engine))
    with UnitOfWork(engine) as uow:
        begin_items(uow.session, [items[5], items[2]])
    let_leases_run_out(engine)
    take_back_all(engine)
    seen: list[tuple[str, int, int]] = []

    def look(sha256: str) -> None:
        with reading(engine) as session:
            num_done = rows_of(session, Item, Item.state == ItemState.DONE)
            begun = (Item.state == ItemState.PENDING, Item.tries > 0)
            seen.append((sha256, num_done, rows_of(session, Item, *begun)))

    settings = any_prepared.settings.model_copy(update={"decode_processes": 1, "commit_items": 2})
    infer_next(FakeRuntime(settings, engine, decoding=look))

    assert [sha256 for sha256, _, _ in seen] == [digests[at] for at in (2, 5, 0, 1, 3, 4, 6, 7)]
    assert [num_done for _, num_done, _ in seen[:3]] == [0, 1, 2]
    assert [num_begun for _, _, num_begun in seen[:3]] == [2, 1, 4]
    check_invariants(engine)


def test_only_the_killer_is_suspected_again_when_suspects_are_tried_alone(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine, 6)
    digests = _digests(any_prepared)
    host = _Host(any_prepared, [digests[2]])

    assert host.run_worker()
    assert host.run_worker()

    assert tries_of(any_prepared.engine) == [2, 2, 2, 1, 1, 1]
    with reading(any_prepared.engine) as session:
        done = select(Item.id).where(Item.state == ItemState.DONE).order_by(Item.id)
        assert len(session.scalars(done).all()) == 2
    assert host.decoded[1] == digests[:3]


def test_every_killer_is_quarantined_when_a_shard_has_several(any_prepared: Prepared) -> None:
    job_id = submit_job(any_prepared.engine, 6)
    killers = [_digests(any_prepared)[at] for at in (1, 4)]
    host = _Host(any_prepared, killers)

    ends = [host.run_worker() for _ in range(6)]

    # The first attempt counts for both, then each is tried alone twice.
    assert ends == [True] * 5 + [False]
    with reading(any_prepared.engine) as session:
        evidence = session.scalars(select(Item.evidence).where(Item.quarantined).order_by(Item.id)).all()
    assert [found["sha256"] for found in evidence if found] == killers
    job = job_of(any_prepared.engine, job_id)
    assert (job.state, job.items_done, job.items_failed) == (JobState.PARTIAL, 4, 2)
    check_invariants(any_prepared.engine)


def test_shard_of_nothing_but_a_killer_ends_with_it(any_prepared: Prepared) -> None:
    job_id = submit_job(any_prepared.engine, 1)
    host = _Host(any_prepared, _digests(any_prepared))

    assert [host.run_worker() for _ in range(4)] == [True, True, True, False]

    assert job_of(any_prepared.engine, job_id).state is JobState.FAILED
    assert only_shard(any_prepared.engine).state is ShardState.DONE
    check_invariants(any_prepared.engine)


def test_shard_is_quarantined_when_workers_die_before_any_item_began(any_prepared: Prepared) -> None:
    """A model that kills who loads it is no instance's fault."""
    job_id = submit_job(any_prepared.engine, 5)
    host = _Host(any_prepared)

    lives = 3 * OUTSIDE_PATIENCE

    assert [host.run_worker(_die) for _ in range(lives + 1)] == [True] * lives + [False]

    shard = only_shard(any_prepared.engine)
    assert (shard.state, shard.crash_count, shard.failure) == (ShardState.QUARANTINED, lives, Failure.CRASH)
    assert shard.evidence
    assert tries_of(any_prepared.engine) == [0] * 5
    job = job_of(any_prepared.engine, job_id)
    assert (job.state, job.items_failed) == (JobState.FAILED, 5)
    assert host.decoded == [[]] * (lives + 1)
    check_invariants(any_prepared.engine)


def test_crashes_are_forgiven_when_the_shard_moves_on(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine, 4)
    host = _Host(any_prepared)
    assert [host.run_worker(_die) for _ in range(2)] == [True, True]
    assert only_shard(any_prepared.engine).crash_count == 2

    assert not host.run_worker()

    shard = only_shard(any_prepared.engine)
    assert (shard.state, shard.crash_count) == (ShardState.DONE, 0)


def _engine_dies() -> None:
    raise EngineLostError("the engine's process died as it loaded", evidence={"signal": "SIGSEGV", "log": "a trace"})


def test_shard_is_quarantined_with_evidence_when_its_model_kills_the_engine(any_prepared: Prepared) -> None:
    """The worker lives and says so itself, without waiting for a lease."""
    job_id = submit_job(any_prepared.engine, 3)
    host = _Host(any_prepared, retry_backoff_s=0.0)

    assert not host.run_worker(_engine_dies)

    shard = only_shard(any_prepared.engine)
    assert (shard.state, shard.crash_count) == (ShardState.QUARANTINED, 3)
    assert shard.evidence == {"signal": "SIGSEGV", "log": "a trace"}
    assert job_of(any_prepared.engine, job_id).state is JobState.FAILED
    check_invariants(any_prepared.engine)
