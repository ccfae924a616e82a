"""Tasks and hints: every name has a task, every lane a queue, and a message says nothing but its lane."""

import json
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import select

from shared.config import Settings
from shared.db import reading
from shared.models import Job
from shared.queue import HintSender, TaskName, make_celery
from shared.states import JobState, Lane
from tests.conftest import Prepared
from tests.factories import submit_job
from tests.fake_worker import FakeRuntime
from worker.app import make_worker_app


@pytest.fixture
def celery(settings: Settings) -> Celery:
    """The app with a broker in this process's memory."""
    app = make_celery(settings.model_copy(update={"broker_url": "memory://"}))
    with app.connection_for_write() as connection:
        for lane in Lane:
            connection.SimpleQueue(lane.value).clear()
    return app


def _messages(app: Celery, lane: Lane) -> list[Any]:
    """What lies in a lane's queue."""
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(lane.value)
        return [queue.get_nowait() for _ in range(queue.qsize())]


def test_every_task_name_is_registered_in_the_worker_and_no_other(prepared: Prepared) -> None:
    app = make_worker_app(prepared.settings, FakeRuntime(prepared.settings, prepared.engine))

    registered = {name for name in app.tasks if not name.startswith("celery.")}

    assert registered == {name.value for name in TaskName}


def test_every_lane_is_a_queue_of_its_own(settings: Settings) -> None:
    queues = make_celery(settings).amqp.queues

    assert set(queues) == {lane.value for lane in Lane}
    assert {queue.exchange.name for queue in queues.values()} == {lane.value for lane in Lane}


@pytest.mark.parametrize("lane", Lane)
def test_hint_says_nothing_but_its_lane(celery: Celery, lane: Lane) -> None:
    assert HintSender(celery).send(lane, 2)

    messages = _messages(celery, lane)
    assert len(messages) == 2
    for message in messages:
        args, kwargs, embedded = json.loads(message.body)
        assert (args, kwargs) == ([], {"lane": lane.value})
        assert not any(embedded.values())
        assert message.headers["task"] == f"overread.{'train' if lane is Lane.TRAINING else 'infer'}_next"
        assert message.content_type == "application/json"
        assert message.headers["eta"] is message.headers["expires"] is None
    assert [len(_messages(celery, other)) for other in Lane if other is not lane] == [0, 0, 0]


def test_hint_names_a_lane_that_the_task_understands(celery: Celery, prepared: Prepared) -> None:
    submit_job(prepared.engine, 2, lane=Lane.URGENT)
    app = make_worker_app(prepared.settings, FakeRuntime(prepared.settings, prepared.engine))
    HintSender(celery).send(Lane.URGENT, 1)
    (message,) = _messages(celery, Lane.URGENT)
    kwargs = json.loads(message.body)[1]

    app.tasks[message.headers["task"]](**kwargs)

    with reading(prepared.engine) as session:
        assert session.scalars(select(Job.state)).all() == [JobState.DONE]


def test_worker_takes_json_only_and_acknowledges_early(settings: Settings) -> None:
    conf = make_celery(settings).conf

    assert conf.accept_content == ["json"]
    assert conf.task_serializer == "json"
    assert conf.task_acks_late is False
    assert conf.task_ignore_result is True
    assert conf.result_backend is None
    assert conf.worker_prefetch_multiplier == 1
