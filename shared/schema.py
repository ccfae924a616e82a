"""Brings a database to the newest schema; safe when several hosts start at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from shared.db import AdvisoryLock, take_lock


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
    with engine.begin() as connection:
        lock_schema(connection)
        command.upgrade(_config(connection), "head")


def schema_is_current(connection: Connection) -> bool:
    """True when the database has every migration that this code knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head
