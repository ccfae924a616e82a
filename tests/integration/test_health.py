"""What the containers' health checks ask, and where the first admin token goes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import select, update

from shared.config import Settings, load_settings
from shared.db import db_now, make_engine, reading
from shared.health import RECOVERY_OVERDUE_S, SILENCE_S, ailment
from shared.migrate import prepare_database
from shared.models import Principal, Shard, WorkerProcess
from shared.repositories.workers import stop
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import claim, submit_job
from tests.system import free_port
from tests.waiting import add_worker


def test_worker_is_ill_until_one_of_this_host_beats(any_prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    add_worker(any_prepared.engine, "elsewhere-7")
    alone = ailment("worker", any_prepared.settings)

    add_worker(any_prepared.engine, "here-7")

    assert "no worker of this host" in alone
    assert ailment("worker", any_prepared.settings) == ""


@pytest.mark.parametrize("how", ["silent", "stopped"])
def test_worker_is_ill_when_it_is_gone(prepared: Prepared, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    add_worker(prepared.engine, "here-7")

    with UnitOfWork(prepared.engine) as uow:
        if how == "silent":
            uow.session.execute(update(WorkerProcess).values(heartbeat_at=db_now(-SILENCE_S - 1.0)))
        else:
            stop(uow.session, "here-7")

    assert "no worker of this host" in ailment("worker", prepared.settings)


def test_scheduler_is_ill_when_an_expired_lease_is_left(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine)
    claim(any_prepared.engine)
    found = []

    for age_s in (0.0, RECOVERY_OVERDUE_S - 5.0, RECOVERY_OVERDUE_S + 5.0):
        with UnitOfWork(any_prepared.engine) as uow:
            uow.session.execute(update(Shard).values(lease_until=db_now(-age_s)))
        found.append(ailment("scheduler", any_prepared.settings))

    assert found == ["", "", "expired leases are not taken back"]


@pytest.mark.parametrize("service", ["worker", "scheduler"])
def test_service_is_ill_when_the_schema_is_missing(settings: Settings, service: str) -> None:
    assert "schema is not current" in ailment(service, settings)


def test_service_is_ill_when_the_database_cannot_be_reached(data_dir: Path) -> None:
    settings = load_settings(data_dir=data_dir, database_url=f"postgresql://u:secret@127.0.0.1:{free_port()}/none")

    assert ailment("scheduler", settings) == "the database cannot be reached (OperationalError)"


@contextmanager
def api_that_says(status: int) -> Iterator[int]:
    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "is_well"), [(200, True), (503, False)])
def test_api_is_ill_when_it_says_that_it_is_not_ready(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, status: int, is_well: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    with api_that_says(status) as port:
        said = ailment("api", load_settings(data_dir=data_dir, api_port=port))

    assert (said == "") is is_well


def migrate(data_dir: Path, token_file: Path) -> subprocess.CompletedProcess[str]:
    environment = {"OVERREAD_DATA_DIR": str(data_dir), "OVERREAD_ADMIN_TOKEN_FILE": str(token_file)}
    command = [sys.executable, "-m", "shared.migrate"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_token_goes_to_its_file_when_one_is_named(data_dir: Path) -> None:
    token_file = data_dir / "token"

    done = migrate(data_dir, token_file)

    assert json.loads(done.stdout) == {"token": None}
    assert token_file.read_text().startswith("ovr_")
    assert token_file.stat().st_mode & 0o777 == 0o600
    assert token_file.read_text() not in done.stderr
    assert not list(data_dir.glob(".token*"))


def test_no_admin_is_made_when_its_token_cannot_be_kept(data_dir: Path) -> None:
    settings = load_settings(data_dir=data_dir)
    prepared = make_engine(settings)

    done = migrate(data_dir, data_dir / "absent" / "token")

    assert done.returncode != 0
    assert prepare_database(prepared, settings.site) is not None  # so there was none before
    with reading(prepared) as session:
        assert session.scalars(select(Principal.name)).all() == ["admin"]
    prepared.dispose()
