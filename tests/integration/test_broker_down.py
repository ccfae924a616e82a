"""Without the broker submissions are taken, nothing waits for it, and readiness, queues and jobs say so."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from api import broker
from api.broker import BrokerWatch
from api.cli.valkey import broker_url, default_socket
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api
from tests.dicom_samples import make_uid
from tests.factories import add_instance, add_model
from tests.waiting import add_worker, running_valkey

JOBS = "/api/v1/jobs"
STUDY = {"studies": [make_uid("study")]}


@pytest.fixture(autouse=True)
def always_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was known a moment ago is asked again, so that no test waits for it to get old."""
    monkeypatch.setattr(broker, "FRESH_S", 0.0)


def _prepare(api: Api) -> None:
    add_worker(api.prepared.engine)
    with UnitOfWork(api.prepared.engine) as uow:
        add_model(uow.session)
        add_instance(uow.session)


def _said(api: Api, job: dict[str, Any]) -> list[str]:
    lane = api.get("/api/v1/queues").json["items"][1]
    return [
        api.get("/readyz").json["checks"]["broker"],
        lane["broker"],
        api.get(f"{JOBS}/{job['id']}").json["waiting"],
    ]


def test_broker_that_goes_and_returns_is_told_everywhere(any_api: Api, data_dir: Path) -> None:
    _prepare(any_api)
    answer = any_api.post(JOBS, json=STUDY)

    away = _said(any_api, answer.json)
    again = _said(any_api, answer.json)
    with running_valkey(data_dir):
        back = _said(any_api, answer.json)

    assert (answer.status_code, answer.json["state"]) == (202, "queued")
    assert answer.json["waits_for"][0] == "broker_unreachable"
    assert len(set(away)) == 1
    assert away[0].startswith("the broker has been unreachable since ")
    assert again == away
    assert back[:2] == ["ok", "ok"]
    assert back[2].startswith("first in its lane")


def test_api_is_degraded_but_ready_without_the_broker(any_api: Api, data_dir: Path) -> None:
    away = any_api.app.test_client().get("/readyz")
    metrics_away = any_api.app.test_client().get("/metrics").text
    with running_valkey(data_dir):
        back = any_api.app.test_client().get("/readyz")
        metrics_back = any_api.app.test_client().get("/metrics").text

    assert (away.status_code, away.json["status"]) == (200, "degraded")
    assert (back.status_code, back.json["status"]) == (200, "ok")
    assert ("overread_broker_up 0.0" in metrics_away, "overread_broker_up 1.0" in metrics_back) == (True, True)


def test_submission_does_not_wait_for_a_broker_that_hangs(api: Api, data_dir: Path) -> None:
    _prepare(api)
    with running_valkey(data_dir) as valkey:
        valkey.send_signal(signal.SIGSTOP)
        begun_at = time.monotonic()
        answer = api.post(JOBS, json=STUDY)
        took_s = time.monotonic() - begun_at

    assert answer.status_code == 202
    assert answer.json["waits_for"][0] == "broker_unreachable"
    # Two questions of half a second each, because here none is remembered; no hint, which would take longer.
    assert took_s < 2.0


def test_last_answer_is_given_while_one_thread_asks(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asking, may_answer = threading.Event(), threading.Event()
    watch = BrokerWatch(broker_url(default_socket(data_dir)))
    first = watch.outage()

    def slow(_: str) -> bool:
        asking.set()
        return may_answer.wait(30.0)

    monkeypatch.setattr(broker, "_answers", slow)
    prober = threading.Thread(target=watch.outage)
    prober.start()
    assert asking.wait(30.0)
    meanwhile = watch.outage()
    may_answer.set()
    prober.join()

    assert first is not None
    assert meanwhile == first
    monkeypatch.setattr(broker, "FRESH_S", 60.0)
    assert watch.outage() is None


def test_broker_is_asked_once_in_two_seconds(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "FRESH_S", 2.0)
    asked: list[str] = []
    monkeypatch.setattr(broker, "_answers", lambda url: bool(asked.append(url)))
    watch = BrokerWatch(broker_url(default_socket(data_dir)))

    outages = [watch.outage() for _ in range(5)]

    assert len(asked) == 1
    assert len(set(outages)) == 1
