"""Brings a database to the newest schema; safe when several hosts start at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from shared.db import AdvisoryLock, reading, take_lock

# For so long does who starts on SQLite wait while another brings it to the newest schema; PostgreSQL's lock has no end.
LONGEST_MIGRATION_S = 600


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def lock_schema(connection: Connection) -> None:
    """Let one host at a time prepare the database, until its transaction ends."""
    take_lock(connection, AdvisoryLock.SCHEMA)


def upgrade_schema(engine: Engine) -> None:
    """Apply the migrations that are missing, in one transaction."""
    with reading(engine) as session:
        if schema_is_current(session.connection()):
            return  # also for what it would cost to check every reference of a large database
    with migrating(engine) as connection:
        lock_schema(connection)
        command.upgrade(_config(connection), "head")


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A transaction that may replace tables that others refer to.

    SQLite changes a table by copying it and dropping the old one, which only works while references are not enforced;
    they are checked before the commit instead (SQLite, "Making Other Kinds Of Table Schema Changes").
    """
    with engine.connect() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        if is_sqlite:
            # On the driver's connection: within a transaction, which SQLAlchemy would begin, nothing would change.
            (busy_ms,) = _driver(connection).execute("PRAGMA busy_timeout").fetchone()
            _driver(connection).execute(f"PRAGMA busy_timeout={LONGEST_MIGRATION_S * 1000}")
            _driver(connection).execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                if not is_sqlite:
                    # Between two statements Alembic works for longer than others may idle, on a busy machine.
                    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                yield connection
                if is_sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                    raise AssertionError("a migration left rows that refer to nothing")
        finally:
            if is_sqlite:
                _driver(connection).execute("PRAGMA foreign_keys=ON")
                _driver(connection).execute(f"PRAGMA busy_timeout={busy_ms}")


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def schema_is_current(connection: Connection) -> bool:
    """True when the database has every migration that this code knows."""
    return MigrationContext.configure(connection).get_current_revision() == _newest()


@cache
def _newest() -> str | None:
    """Every migration's file is read for it, and none changes while we run."""
    return ScriptDirectory.from_config(_config()).get_current_head()
