"""The migrations make what the models say, on both databases, forwards, backwards, and by several hosts at once."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, select, text

import shared.schema
from shared.clock import utc_now
from shared.config import Settings
from shared.db import make_engine, reading
from shared.identifiers import new_id
from shared.migrate import prepare_database
from shared.models import Base, ModelVersion, Report, Series, Study
from shared.reports.digest import content_digest
from shared.repositories.jobs import JobFilter, list_jobs
from shared.repositories.registry import numbered, promote, promotions_of, roll_back
from shared.schema import migrating, schema_is_current, upgrade_schema
from shared.states import PromotionKind, ReportOrigin, ReportStatus
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import MODEL, add_instance, add_model, submit_job


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
    with migrating(engine) as connection:
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


def test_reports_of_before_become_one_chain_in_the_order_in_which_they_were_made(empty: Engine) -> None:
    prepare_database(empty, "local")
    with UnitOfWork(empty) as uow:
        versions = [add_model(uow.session), add_model(uow.session)]
        series = uow.session.get_one(Series, add_instance(uow.session).series_id)
        patient = uow.session.get_one(Study, series.study_id).patient_id
        reports = [_report(patient, versions[at], number) for number, at in enumerate((0, 1, 0), start=1)]
        uow.session.add_all(reports)
    _downgrade(empty, "0011")
    with empty.begin() as connection:
        # As they were numbered then: by the version of the model.
        connection.execute(text("UPDATE report SET number = 1 WHERE number = 2"))
        connection.execute(text("UPDATE report SET number = 2 WHERE number = 3"))

    upgrade_schema(empty)

    with reading(empty) as session:
        chain = session.scalars(select(Report).order_by(Report.number)).all()
        assert [one.id for one in chain] == [one.id for one in reports]
        assert [one.supersedes for one in chain] == [None, reports[0].id, reports[1].id]
        assert {one.content_digest for one in chain} == {content_digest({"findings": [0.25]})}
        assert {(one.model_name, one.origin) for one in chain} == {(MODEL, ReportOrigin.RESULTS)}


def test_labels_of_before_are_found_whatever_their_script(empty: Engine) -> None:
    prepare_database(empty, "local")
    jobs = [submit_job(empty, 1, label=label) for label in ("Night", "ÄRZTE Straße", "夜间")]
    _downgrade(empty, "0015")
    upgrade_schema(empty)

    with reading(empty) as session:
        found = [
            [one.id for one in list_jobs(session, JobFilter(label=label))]
            for label in ("Night", "ÄRZTE Straße", "夜间")
        ]
        typed = [
            [one.id for one in list_jobs(session, JobFilter(typed=typed))] for typed in ("nig", "ärzte strasse", "夜")
        ]

    assert found == typed == [[job] for job in jobs]


def _report(patient_id: int, version: ModelVersion, number: int) -> Report:
    columns = {"patient_id": patient_id, "model_version_id": version.id, "model_name": version.name, "number": number}
    said = {"status": ReportStatus.PRELIMINARY, "origin": ReportOrigin.RESULTS, "document": {"findings": [0.25]}}
    digests = {"inputs_digest": "d" * 64, "content_digest": "e" * 64}
    return Report(id=new_id(), created_at=utc_now(), **columns, **said, **digests)


def test_database_is_prepared_once_when_hosts_start_together(empty: Engine) -> None:
    together = Barrier(4)

    def start(_: int) -> str | None:
        together.wait()
        return prepare_database(empty, "local")

    with ThreadPoolExecutor(4) as pool:
        tokens = list(pool.map(start, range(4)))

    assert sum(token is not None for token in tokens) == 1
    assert _tables(empty) == set(Base.metadata.tables)


def test_start_waits_for_another_that_migrates_for_longer_than_for_any_other_lock(settings: Settings) -> None:
    engine = make_engine(settings.model_copy(update={"database_timeout_s": 0.2}))
    with ThreadPoolExecutor(1) as pool:
        with migrating(engine) as connection:
            started = pool.submit(upgrade_schema, engine)
            connection.execute(text("CREATE TABLE large (id INTEGER)"))
            time.sleep(1.5)
            assert not started.done()
        started.result()

    assert _tables(engine) == {"large", *Base.metadata.tables}
    with reading(engine) as session:
        assert session.execute(text("PRAGMA busy_timeout")).scalar() == 200
    engine.dispose()


def test_sqlite_waits_keeps_and_checks(prepared: Prepared) -> None:
    with prepared.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }

    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 15_000}
