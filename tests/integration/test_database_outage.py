"""The database is away, busy or full: a 503 or 507 that says when to ask again, soon, and work goes on by itself."""

import io
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError, PendingRollbackError

from api.services import EXTENSION
from shared.config import load_settings
from shared.db import make_engine
from shared.migrate import prepare_database
from shared.outage import is_full, is_outage
from tests.cohorts import film
from tests.conftest import Api, Prepared, make_api
from tests.own_postgres import OwnPostgres, own_postgres

TIMEOUT_S = 0.5
SOON_S = 10.0  # far below what a test would wait for ever, far above what the slowest machine needs


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[OwnPostgres]:
    with own_postgres() as started:
        yield started


@pytest.fixture
def postgres_api(server: OwnPostgres, data_dir: Path) -> Iterator[Api]:
    name = f"test_{data_dir.name.replace('-', '_').lower()}"
    admin = create_engine(server.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    url = server.url.set(database=name).render_as_string(hide_password=False)
    yield from _api(data_dir, database_url=url)


def _api(data_dir: Path, **settings: Any) -> Iterator[Api]:
    chosen = load_settings(data_dir=data_dir, database_timeout_s=TIMEOUT_S, **settings)
    engine = make_engine(chosen)
    token = prepare_database(engine, chosen.site)
    engine.dispose()
    assert token is not None
    yield from make_api(Prepared(chosen, engine, token))


@pytest.fixture
def sqlite_api(prepared: Prepared) -> Iterator[Api]:
    settings = prepared.settings.model_copy(update={"database_timeout_s": TIMEOUT_S})
    yield from make_api(Prepared(settings, prepared.engine, prepared.token))


def read(api: Api) -> Any:
    return api.get("/api/v1/jobs")


def write(api: Api) -> Any:
    return api.post("/api/v1/tokens", json={"principal": uuid4().hex, "scopes": ["read"]})


def send(api: Api) -> Any:
    return api.post("/api/v1/uploads", data=io.BytesIO(film("PAT-1", 1, 1)), content_type="application/dicom")


def is_refusal(answer: Any, status: int) -> bool:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    return True


def engine_of(api: Api) -> Engine:
    engine: Engine = api.app.extensions[EXTENSION].engine
    return engine


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_api_answers_503_until_postgresql_is_back(server: OwnPostgres, postgres_api: Api, by: signal.Signals) -> None:
    assert [read(postgres_api).status_code, write(postgres_api).status_code] == [200, 201]

    server.stop(by)
    try:
        began = time.monotonic()
        refused = [is_refusal(ask(postgres_api), 503) for ask in (read, write, send, read)]
        took_s = time.monotonic() - began
        not_ready = postgres_api.get("/readyz")
        alive = postgres_api.get("/healthz")
    finally:
        server.start()

    assert all(refused)
    assert took_s < SOON_S
    assert not_ready.status_code == 503
    assert "cannot be reached" in not_ready.json["checks"]["database"]
    assert alive.status_code == 200
    assert postgres_api.get("/readyz").status_code == 200
    assert [ask(postgres_api).status_code for ask in (read, write, send)] == [200, 201, 201]


def test_no_request_gets_a_500_when_postgresql_restarts_beneath_it(server: OwnPostgres, postgres_api: Api) -> None:
    over = Event()

    def keep_asking(ask: Callable[[Api], Any]) -> set[int]:
        statuses = set()
        while not over.is_set():
            statuses.add(ask(postgres_api).status_code)
        return statuses

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(keep_asking, ask) for ask in (read, write, send) * 2]
        try:
            for by in (signal.SIGINT, signal.SIGQUIT):
                server.stop(by)
                server.start()
        finally:
            over.set()
        statuses = set[int]().union(*(one.result() for one in asked))

    assert statuses == {200, 201, 503}
    assert [ask(postgres_api).status_code for ask in (read, write, send)] == [200, 201, 201]


@pytest.mark.parametrize(
    ("state", "status"), [("53100", 507), ("57P03", 503), ("53300", 503), ("58030", 503), ("25006", 503)]
)
def test_postgresqls_trouble_is_told_from_its_sqlstate(postgres_api: Api, state: str, status: int) -> None:
    engine = engine_of(postgres_api)
    with engine.begin() as connection:
        connection.execute(text(RAISE.format(state=state)))

    refused = write(postgres_api)
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER trouble ON token"))

    assert is_refusal(refused, status)
    assert write(postgres_api).status_code == 201


RAISE = """
CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{state}'; END $$;
CREATE TRIGGER trouble BEFORE INSERT ON token EXECUTE FUNCTION trouble();
"""


def test_write_answers_503_soon_when_sqlites_lock_is_held(sqlite_api: Api) -> None:
    settings = sqlite_api.prepared.settings
    with closing(sqlite3.connect(settings.data_dir / "overread.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        refused = write(sqlite_api)
        took_s = time.monotonic() - began
        seen = read(sqlite_api)

    assert is_refusal(refused, 503)
    assert TIMEOUT_S < took_s < SOON_S
    assert seen.status_code == 200, "who only reads need not wait"
    assert write(sqlite_api).status_code == 201


def test_write_answers_507_while_sqlite_has_no_room(sqlite_api: Api) -> None:
    engine = engine_of(sqlite_api)
    no_more = True

    @event.listens_for(engine, "checkout")
    def _bound(connection: Any, *_: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages if no_more else 2**32 - 2}")

    refusals = [answer for _ in range(200) if (answer := write(sqlite_api)).status_code != 201]
    no_more = False

    assert refusals
    assert all(is_refusal(answer, 507) for answer in refusals)
    assert write(sqlite_api).status_code == 201


def test_request_answers_503_soon_when_all_connections_are_taken(sqlite_api: Api) -> None:
    began = time.monotonic()
    with ExitStack() as held:
        for _ in range(64):
            held.enter_context(closing(engine_of(sqlite_api).raw_connection()))
        refused = read(sqlite_api)

    assert is_refusal(refused, 503)
    assert time.monotonic() - began < SOON_S
    assert read(sqlite_api).status_code == 200


class _Refused(sqlite3.InternalError):
    def __init__(self, sqlstate: str) -> None:
        super().__init__()
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("", {}, sqlite3.OperationalError("disk I/O error")), True),
        (InterfaceError("", {}, sqlite3.InterfaceError()), True),
        (InternalError("", {}, _Refused("57P01")), True),
        (InternalError("", {}, _Refused("XX000")), False),
        (DBAPIError("", {}, sqlite3.Error(), connection_invalidated=True), True),
        (DBAPIError("", {}, sqlite3.Error()), False),
        (PendingRollbackError("rolled back"), True),
    ],
    ids=["io", "interface", "shutdown", "bug_of_postgresql", "lost", "unknown", "after_loss"],
)
def test_outage_is_told_from_other_errors(error: DBAPIError, *, expected: bool) -> None:
    assert is_outage(error) is expected
    assert not is_full(error)
