"""Hints: a lane with work and idle workers is told of it again, and only then."""

import time
from uuid import UUID

import pytest
from celery import Celery

from scheduler.hints import Hints
from shared.config import Settings
from shared.queue import HintSender, make_celery
from shared.repositories.lanes import pause_lane
from shared.repositories.workers import Beat, beat, stop
from shared.states import Lane
from shared.unit_of_work import UnitOfWork
from tests.claimers import take
from tests.conftest import Prepared
from tests.factories import admin_id, claim, submit_job


class _Duty:
    """The duty over a broker in this process's memory, and what it sent."""

    def __init__(self, prepared: Prepared, **changes: object) -> None:
        settings: Settings = prepared.settings.model_copy(update={"broker_url": "memory://"} | changes)
        self.app: Celery = make_celery(settings)
        self.duty = Hints(prepared.engine, HintSender(self.app), settings)
        self.sent()

    def run(self) -> dict[Lane, int]:
        self.duty.run()
        return self.sent()

    def sent(self) -> dict[Lane, int]:
        """Messages by lane since the last look."""
        counts: dict[Lane, int] = {}
        with self.app.connection_for_read() as connection:
            for lane in Lane:
                queue = connection.SimpleQueue(lane.value)
                counts[lane] = queue.qsize()
                queue.clear()
        return {lane: count for lane, count in counts.items() if count}


def _worker_beats(
    prepared: Prepared, *, name: str = "worker-1", concurrency: int = 4, lanes: tuple[Lane, ...] = tuple(Lane)
) -> None:
    said = Beat(lanes=list(lanes), concurrency=concurrency, engines=[], loading=[], rss_bytes=1)
    with UnitOfWork(prepared.engine) as uow:
        beat(uow.session, name, said)


def _submit(prepared: Prepared, shards: int, lane: Lane = Lane.ROUTINE) -> UUID:
    return submit_job(prepared.engine, shards, shard_items=1, lane=lane)


def test_lane_is_hinted_once_for_each_idle_thread(any_prepared: Prepared) -> None:
    _submit(any_prepared, 6)
    _submit(any_prepared, 1, Lane.BACKGROUND)
    _worker_beats(any_prepared, concurrency=3)
    claim(any_prepared.engine)

    assert _Duty(any_prepared).run() == {Lane.ROUTINE: 2, Lane.BACKGROUND: 1}


def test_lane_is_hinted_although_all_threads_seem_busy(any_prepared: Prepared) -> None:
    """What a dead worker holds counts as running until its lease runs out."""
    _submit(any_prepared, 2)
    _worker_beats(any_prepared, concurrency=1)
    claim(any_prepared.engine)

    assert _Duty(any_prepared).run() == {Lane.ROUTINE: 1}


def test_idle_worker_is_hinted_when_another_holds_many_small_shards(any_prepared: Prepared) -> None:
    _submit(any_prepared, 20)
    for name in ("worker-1", "worker-2"):
        _worker_beats(any_prepared, name=name)
    for _ in range(12):
        claim(any_prepared.engine, "worker-1")

    assert _Duty(any_prepared).run() == {Lane.ROUTINE: 4}


def test_lane_is_hinted_again_only_after_the_interval(prepared: Prepared) -> None:
    _submit(prepared, 1)
    _worker_beats(prepared)

    seldom, often = _Duty(prepared, hint_interval_s=60.0), _Duty(prepared, hint_interval_s=0.0)

    assert [len(seldom.run()) for _ in range(3)] == [1, 0, 0]
    assert [len(often.run()) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("why", ["no_worker", "worker_left", "other_lanes", "nothing_due", "paused"])
def test_no_hint_is_sent_when_nobody_could_use_it(prepared: Prepared, why: str) -> None:
    _submit(prepared, 1)
    if why != "no_worker":
        _worker_beats(prepared, lanes=(Lane.URGENT,) if why == "other_lanes" else tuple(Lane))
    if why == "nothing_due":
        claim(prepared.engine)
    with UnitOfWork(prepared.engine) as uow:
        if why == "worker_left":
            stop(uow.session, "worker-1")
        if why == "paused":
            pause_lane(uow.session, Lane.ROUTINE, principal_id=admin_id(uow.session), reason="a test says so")

    assert _Duty(prepared).run() == {}


def test_duty_goes_on_at_once_when_the_broker_is_away(prepared: Prepared) -> None:
    _submit(prepared, 1)
    _worker_beats(prepared)
    duty = Hints(prepared.engine, HintSender(make_celery(prepared.settings)), prepared.settings)
    began_at = time.monotonic()

    duty.run()

    assert time.monotonic() - began_at < 4.0
    assert take(prepared.engine, "worker-1") is not None
