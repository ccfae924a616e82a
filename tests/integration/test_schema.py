"""The migrations make what the models say, on both databases, forwards, backwards, and by several hosts at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

import shared.schema
from shared.config import Settings
from shared.db import make_engine
from shared.migrate import prepare_database
from shared.models import Base
from shared.repositories.registry import numbered, promote, promotions_of, roll_back
from shared.schema import schema_is_current, upgrade_schema
from shared.states import PromotionKind
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import MODEL, add_model


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Engine]:
    """A database without any table."""
    if request.param == "sqlite":
        engine = make_engine(settings)
        yield engine
        engine.dispose()
        return
    prepared: Prepared = request.getfixturevalue("postgres_prepared")
    with prepared.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    yield prepared.engine


def _tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def _downgrade(engine: Engine, to: str = "base") -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(shared.schema.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, to)


def test_migrations_make_what_the_models_say(empty: Engine) -> None:
    upgrade_schema(empty)

    with empty.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, Base.metadata)
        assert schema_is_current(connection)
    assert differences == []
    assert _tables(empty) == set(Base.metadata.tables)


def test_second_upgrade_changes_nothing(empty: Engine) -> None:
    upgrade_schema(empty)
    upgrade_schema(empty)

    with empty.connect() as connection:
        assert schema_is_current(connection)


def test_downgrade_leaves_nothing_and_upgrade_works_again(empty: Engine) -> None:
    upgrade_schema(empty)

    _downgrade(empty)

    assert _tables(empty) == set()
    with empty.connect() as connection:
        assert not schema_is_current(connection)
    upgrade_schema(empty)
    assert _tables(empty) == set(Base.metadata.tables)


def test_champions_of_before_have_a_promotion_to_go_back_to(empty: Engine) -> None:
    prepare_database(empty, "local")
    with UnitOfWork(empty) as uow:
        add_model(uow.session)
        add_model(uow.session)
        add_model(uow.session, "another")
    _downgrade(empty, "0009")
    upgrade_schema(empty)

    with UnitOfWork(empty) as uow:
        told = [(one.model_version.version, one.kind) for one in promotions_of(uow.session, MODEL)]
        assert told == [(1, PromotionKind.FIRST)]
        assert len(promotions_of(uow.session, "another")) == 1
        second = numbered(uow.session, MODEL, 2)
        assert second is not None
        assert promote(uow.session, second, None)
        back = roll_back(uow.session, second, None)
        assert back is not None
        assert back.version == 1


def test_database_is_prepared_once_when_hosts_start_together(empty: Engine) -> None:
    together = Barrier(4)

    def start(_: int) -> str | None:
        together.wait()
        return prepare_database(empty, "local")

    with ThreadPoolExecutor(4) as pool:
        tokens = list(pool.map(start, range(4)))

    assert sum(token is not None for token in tokens) == 1
    assert _tables(empty) == set(Base.metadata.tables)


def test_sqlite_waits_keeps_and_checks(prepared: Prepared) -> None:
    with prepared.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }

    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 15_000}
