"""The database restarts, is cut off or locked: clients hear 503 with Retry-After, never a 500; work goes on after."""

import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.cohorts import films
from tests.faults.injection import assert_nothing_lost, system_on
from tests.own_postgres import OwnPostgres, own_postgres
from tests.system import System, eventually


class Client(threading.Thread):
    """Asks and submits without a pause, and counts what it was told."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self._system = system
        self._body = films("client", 2)
        self._ended = threading.Event()
        self.told: Counter[int] = Counter()
        self.accepted: set[str] = set()
        self.without_retry_after = 0

    def run(self) -> None:
        with httpx.Client(base_url=self._system.http.base_url, headers=self._system.http.headers, timeout=60) as http:
            while not self._ended.is_set():
                self._ask(http)

    def _ask(self, http: httpx.Client) -> None:
        http.get("/api/v1/jobs")
        answer = http.post("/api/v1/jobs", content=self._body, headers={"Content-Type": "application/zip"})
        self.told[answer.status_code] += 1
        if answer.status_code == httpx.codes.ACCEPTED:
            self.accepted.add(answer.json()["id"])
        elif not answer.headers.get("Retry-After"):
            self.without_retry_after += 1

    def end(self) -> None:
        self._ended.set()
        self.join()


def _assert_refused_politely_and_served_again(client: Client, system: System, job: str) -> None:
    """To be called when the fault is over."""
    served = client.told[202]
    eventually(lambda: client.told[202] > served + 1, 60.0, "clients are served again")
    client.end()
    assert set(client.told) <= {202, 503}
    assert client.told[503] > 0
    assert client.without_retry_after == 0
    assert system.finished(job)["counts"]["done"] == 120
    assert all(system.finished(one)["state"] == "done" for one in client.accepted)
    assert_nothing_lost(system, [job, *client.accepted])


@pytest.mark.slow_fault
def test_clients_hear_503_and_work_goes_on_when_sqlite_is_locked(package: Path) -> None:
    with system_on("sqlite", None, package, database_timeout_s=1) as system:
        job = system.submit(films("locked", 60, instances=2))["id"]
        client = Client(system)
        client.start()
        with closing(sqlite3.connect(system.data_dir / "overread.sqlite", isolation_level=None)) as locker:
            locker.execute("PRAGMA busy_timeout=30000")
            locker.execute("BEGIN IMMEDIATE")
            eventually(lambda: client.told[503] >= 3, 60.0, "clients are refused")
            locker.execute("ROLLBACK")

        _assert_refused_politely_and_served_again(client, system, job)


@pytest.fixture
def server(postgres_url: str) -> Iterator[OwnPostgres]:
    with own_postgres() as started:
        yield started


@pytest.mark.slow_fault
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["fast", "immediate", "kill"])
def test_clients_hear_503_and_work_goes_on_when_postgresql_restarts(
    package: Path, server: OwnPostgres, by: signal.Signals
) -> None:
    url = server.url.render_as_string(hide_password=False)
    with system_on("postgresql", url, package, database_timeout_s=1) as system:
        job = system.submit(films("restart", 60, instances=2))["id"]
        eventually(lambda: system.job(job)["counts"]["done"] > 0, 60.0, "it runs", interval_s=0.01)
        client = Client(system)
        client.start()

        server.stop(by)
        eventually(lambda: client.told[503] >= 3, 60.0, "clients are refused")
        time.sleep(1.0)  # the fault itself: how long the server is away
        server.start()

        _assert_refused_politely_and_served_again(client, system, job)
