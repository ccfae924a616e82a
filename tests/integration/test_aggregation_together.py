"""Many reports that are due at once: schedulers side by side, a look that ends in time, an outage in its midst."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import OperationalError

from scheduler.aggregation import report as duty
from scheduler.aggregation.report import FEWEST, Aggregation
from shared.db import reading
from shared.models import AuditEvent, JobPatient, Report
from shared.unit_of_work import UnitOfWork
from tests.claimers import commit, take
from tests.conftest import Prepared
from tests.factories import add_model, submit_job

PATIENTS = 3 * FEWEST
SCHEDULERS = 4


def _end(engine: Engine) -> None:
    """Every item of every job fails."""
    while (claimed := take(engine, "worker-1")) is not None:
        commit(engine, claimed, num_failed=PATIENTS)


@pytest.fixture
def engine(any_prepared: Prepared) -> Engine:
    """A database in which the reports of all patients of a job are due."""
    submit_job(any_prepared.engine, PATIENTS, patients=PATIENTS)
    _end(any_prepared.engine)
    return any_prepared.engine


def _assert_each_has_one_report(engine: Engine) -> None:
    with reading(engine) as session:
        reports = {row.id: row.patient_id for row in session.execute(select(Report.id, Report.patient_id))}
        settled = dict(session.execute(select(JobPatient.patient_id, JobPatient.report_id)).all())
        acts = Counter(session.scalars(select(AuditEvent.object_id).where(AuditEvent.action == "report.make")))
    assert sorted(reports.values()) == sorted(settled)
    assert {patient: reports[report_id] for patient, report_id in settled.items()} == {one: one for one in settled}
    assert acts == Counter(str(report_id) for report_id in reports)


def _run_until_nothing_is_due(engine: Engine) -> int:
    aggregation, settled = Aggregation(engine), 0
    while _num_due(engine):
        settled += aggregation.run()
    return settled


def _num_due(engine: Engine) -> int:
    with reading(engine) as session:
        return len(session.scalars(select(JobPatient.patient_id).where(JobPatient.reported_at.is_(None))).all())


def test_each_patient_has_one_report_when_schedulers_look_at_once(engine: Engine) -> None:
    with ThreadPoolExecutor(SCHEDULERS) as pool:
        settled = list(pool.map(_run_until_nothing_is_due, [engine] * SCHEDULERS))

    _assert_each_has_one_report(engine)
    if engine.dialect.name == "postgresql":
        # What one has taken, the others leave out: nobody did the same work twice.
        assert sum(settled) == PATIENTS


def test_look_ends_in_time_and_the_next_takes_more(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty, "LOOK_S", 0.0)
    monkeypatch.setattr(duty, "SOON_S", 1000.0)
    aggregation = Aggregation(engine)

    assert aggregation.run() == FEWEST
    assert _num_due(engine) == PATIENTS - FEWEST
    assert aggregation.run() == PATIENTS - FEWEST
    _assert_each_has_one_report(engine)


def test_as_few_as_at_first_are_taken_when_they_take_long(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty, "LOOK_S", 0.0)
    monkeypatch.setattr(duty, "SOON_S", 0.0)
    aggregation = Aggregation(engine)

    assert [aggregation.run() for _ in range(4)] == [FEWEST, FEWEST, FEWEST, 0]


@contextmanager
def _cut_off(engine: Engine, transaction: int) -> Iterator[None]:
    """The database goes away within the transaction of this number, when its reports are written but not settled."""
    seen: list[str] = []

    def cut(connection: Any, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("UPDATE job_patient"):
            return
        seen.append(statement)
        if len(seen) != transaction:
            return
        if engine.dialect.name == "sqlite":
            raise OperationalError(statement, {}, sqlite3.OperationalError("disk I/O error"))
        backend = connection.connection.driver_connection.info.backend_pid
        with engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:backend, 5000)"), {"backend": backend})

    event.listen(engine, "before_cursor_execute", cut)
    yield
    event.remove(engine, "before_cursor_execute", cut)


def test_nothing_is_lost_or_doubled_when_the_database_goes_away_in_a_large_transaction(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duty, "LOOK_S", 1000.0)
    aggregation = Aggregation(engine)

    with _cut_off(engine, transaction=2), pytest.raises(OperationalError):
        aggregation.run()

    assert _num_due(engine) == PATIENTS - FEWEST
    with reading(engine) as session:
        assert len(session.scalars(select(Report.id)).all()) == FEWEST
    assert aggregation.run() == PATIENTS - FEWEST
    _assert_each_has_one_report(engine)


def test_one_look_reports_on_jobs_of_several_models(any_prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty, "LOOK_S", 1000.0)
    engine = any_prepared.engine
    submit_job(engine, 2, patients=2)
    with UnitOfWork(engine) as uow:
        other = add_model(uow.session, "other").id
    submit_job(engine, 3, patients=3, model_version_id=other)
    _end(engine)

    assert Aggregation(engine).run() == 5
    _assert_each_has_one_report(engine)
