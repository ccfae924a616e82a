"""The queue holds only hints: wiped, away, restarted, doubled or full of junk, it costs time and never work."""

import pickle
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from api.cli.valkey import answers_ping, broker_url, valkey_service
from shared.config import Settings
from shared.queue import TaskName, make_celery
from shared.states import Lane
from tests.cohorts import films
from tests.faults.conftest import Systems
from tests.faults.injection import assert_nothing_lost, has_struck, injecting, service_environment
from tests.system import System, eventually

LEASE_S = 2


class OwnValkey:
    """A broker that the test starts, kills and starts again."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "broker" / "valkey.sock"
        self.url = broker_url(self.socket)
        self._service = valkey_service(folder / "broker-data", self.socket, {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for part in (self.socket.parent, self.socket.parent.parent / "broker-data"):
            part.mkdir(parents=True, exist_ok=True)
        self._service.prepare()
        self._process = subprocess.Popen(self._service.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: answers_ping(self.socket), 20.0, "Valkey answers")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def own_valkey(data_dir: Path) -> Iterator[OwnValkey]:
    valkey = OwnValkey(data_dir)
    yield valkey
    valkey.kill()


def _counts(system: System, job_id: str) -> dict[str, int]:
    return dict(system.job(job_id)["counts"])


@pytest.mark.slow_fault
def test_no_shard_is_lost_when_valkey_is_wiped_under_500_queued_and_20_running(systems: Systems) -> None:
    with systems(shard_items=1, commit_items=1, worker_concurrency=20) as system:
        job = system.submit(films("wiped", 540))
        eventually(lambda: _counts(system, job["id"])["done"] >= 5, 60.0, "work is under way", interval_s=0.01)

        system.kill("valkey")
        shutil.rmtree(system.data_dir / "valkey", ignore_errors=True)

        assert system.finished(job["id"], LEASE_S + 60.0)["counts"]["done"] == 540
        assert_nothing_lost(system, [job["id"]])


def test_submissions_are_accepted_and_run_later_when_valkey_never_started(
    systems: Systems, own_valkey: OwnValkey
) -> None:
    with systems(broker_url=own_valkey.url) as system:
        jobs = [system.submit(films(f"never{number}", 5)) for number in range(3)]
        waiting = [system.job(job["id"]) for job in jobs]
        ready = system.http.get("/readyz").json()
        lanes = system.http.get("/api/v1/queues").json()["items"]

        own_valkey.start()

        assert all(job["state"] == "queued" and "broker" in job["waiting"] for job in waiting)
        assert ready["checks"]["broker"] != "ok"
        assert all(lane["broker"] != "ok" for lane in lanes)
        assert all(system.finished(job["id"])["state"] == "done" for job in jobs)
        assert_nothing_lost(system, [job["id"] for job in jobs])


@pytest.mark.slow_fault
def test_all_is_done_when_a_tenth_of_the_messages_is_lost_with_its_taker(systems: Systems, data_dir: Path) -> None:
    with systems(environment=injecting(data_dir / "inject", lose_delivery=0.1)) as system:
        jobs = [system.submit(films(f"lost{number}", 8))["id"] for number in range(12)]

        assert all(system.finished(job, 180.0)["state"] == "done" for job in jobs)
        assert has_struck(data_dir / "inject", "lose_delivery")
        assert_nothing_lost(system, jobs)


@pytest.mark.slow_fault
def test_worker_is_never_idle_for_a_minute_when_valkey_restarts_20_times(
    systems: Systems, own_valkey: OwnValkey
) -> None:
    own_valkey.start()
    jobs: list[str] = []
    with systems(broker_url=own_valkey.url) as system:
        for number in range(20):
            jobs.append(system.submit(films(f"restart{number}", 10))["id"])
            own_valkey.kill()
            time.sleep(2.0)  # the fault itself: how long the broker is away
            own_valkey.start()
            time.sleep(3.0)
        jobs.append(system.submit(films("restarted", 10))["id"])

        assert all(system.finished(job, 60.0)["state"] == "done" for job in jobs)
        assert_nothing_lost(system, jobs)


class _Canary:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self._path,)


NO_MESSAGES = (
    b"junk",
    b"\xff\x80",
    b"null",
    b"7",
    b"[1]",
    b"{}",
    b'{"properties": null}',
    b'{"properties": {"delivery_tag": []}, "body": "e30="}',
    b'{"properties": {"delivery_tag": "1", "body_encoding": "base64"}, "body": "e"}',
    b"[" * 100_000,
    pickle.dumps(ValueError()),
)


def test_each_effect_is_one_when_hints_are_doubled_stale_junk_or_pickle(systems: Systems, data_dir: Path) -> None:
    canary = data_dir / "canary"
    with systems() as system:
        (worker,) = [psutil.Process(pid) for pid in system.pids("worker")]
        app = make_celery(Settings(broker_url=service_environment(system)["OVERREAD_BROKER_URL"]))
        over = system.submit(films("over", 3))["id"]
        system.finished(over)
        cancelled = system.submit(films("cancelled", 40), priority="background")["id"]
        system.http.post(f"/api/v1/jobs/{cancelled}/cancel")

        job = system.submit(films("doubled", 20, instances=2))["id"]
        with app.producer_or_acquire() as producer:
            for _ in range(5):
                for lane in ("urgent", "routine", "background", "no-such-lane"):
                    app.send_task(TaskName.INFER_NEXT.value, kwargs={"lane": lane}, queue="routine", producer=producer)
            app.send_task("overread.no_such_task", kwargs={}, queue="routine", producer=producer)
            app.send_task(TaskName.INFER_NEXT.value, kwargs={"unknown": "x" * 100_000}, queue="routine")
            producer.publish("{no JSON", routing_key="routine", exchange="routine", content_type="application/json")
            producer.publish("", routing_key="routine", exchange="routine", content_type="text/plain")
            producer.publish(
                pickle.dumps(_Canary(canary)),
                routing_key="routine",
                exchange="routine",
                content_type="application/x-python-serialize",
                content_encoding="binary",
            )
        with app.connection_for_write() as connection:
            for lane in Lane:
                connection.default_channel.client.lpush(lane.value, *NO_MESSAGES)
        more = system.submit(films("after", 5))["id"]

        assert system.finished(job)["counts"]["done"] == 40
        assert system.finished(more)["state"] == "done"
        assert system.finished(cancelled)["state"] == "cancelled"
        with app.connection_for_read() as connection:
            waiting = connection.default_channel.client
            eventually(lambda: not any(waiting.llen(lane.value) for lane in Lane), 60.0, "all of it was taken")
        again = system.submit(films("again", 5))["id"]
        assert system.finished(again)["state"] == "done"
        assert worker.is_running()
        assert system.pids("worker") == [worker.pid]
        assert not canary.exists()
        assert_nothing_lost(system, [over, cancelled, job, more, again])
