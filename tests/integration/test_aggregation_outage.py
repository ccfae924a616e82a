"""What goes wrong while reports are made costs a report only as long as it lasts, and no other one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import OperationalError

from scheduler.aggregation.report import Aggregation
from shared.db import make_engine, reading
from shared.models import Item, JobPatient, Report
from shared.repositories.jobs import Target
from tests.claimers import commit, take
from tests.conftest import Prepared
from tests.factories import rows_of, submit_job
from tests.reporting import report_on_all

PATIENTS = 3


def _job_without_reports(prepared: Prepared) -> None:
    submit_job(prepared.engine, PATIENTS, patients=PATIENTS)
    claimed = take(prepared.engine, "worker-1")
    assert claimed is not None
    commit(prepared.engine, claimed, num_failed=PATIENTS)


def _num_unreported(prepared: Prepared) -> int:
    with reading(prepared.engine) as session:
        return rows_of(session, JobPatient, JobPatient.reported_at.is_(None))


def _num_reports(prepared: Prepared) -> int:
    with reading(prepared.engine) as session:
        return rows_of(session, Report)


def test_reports_are_made_at_the_next_turn_when_sqlite_was_locked(prepared: Prepared) -> None:
    _job_without_reports(prepared)
    hurried = make_engine(prepared.settings.model_copy(update={"database_timeout_s": 0.2}))
    aggregation = Aggregation(hurried)

    with prepared.engine.begin(), pytest.raises(OperationalError):
        aggregation.run()
    assert _num_unreported(prepared) == PATIENTS

    assert aggregation.run() == PATIENTS
    assert _num_unreported(prepared) == 0
    assert _num_reports(prepared) == PATIENTS
    hurried.dispose()


@contextmanager
def _failing(engine: Engine, error: type[Exception]) -> Iterator[None]:
    """As if each report's row met this error."""

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO report"):
            raise error

    event.listen(engine, "before_cursor_execute", fail)
    yield
    event.remove(engine, "before_cursor_execute", fail)


def test_patient_rests_when_its_report_fails_for_a_reason_of_its_own(any_prepared: Prepared) -> None:
    _job_without_reports(any_prepared)
    aggregation = Aggregation(any_prepared.engine)

    with _failing(any_prepared.engine, ZeroDivisionError):
        assert aggregation.run() == 0

    assert aggregation.run() == 0
    assert _num_unreported(any_prepared) == PATIENTS
    assert Aggregation(any_prepared.engine).run() == PATIENTS


def test_one_patient_whose_report_fails_costs_no_neighbour(any_prepared: Prepared) -> None:
    _job_without_reports(any_prepared)
    engine = any_prepared.engine
    with reading(engine) as session:
        unlucky, *others = session.scalars(select(JobPatient.patient_id).order_by(JobPatient.patient_id)).all()

    def fail(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("INSERT INTO report"):
            names = statement[statement.index("(") + 1 : statement.index(")")].split(", ")
            given = parameters if isinstance(parameters, dict) else dict(zip(names, parameters, strict=True))
            if given["patient_id"] == unlucky:
                raise ZeroDivisionError

    event.listen(engine, "before_cursor_execute", fail)
    assert report_on_all(engine) == len(others)
    event.remove(engine, "before_cursor_execute", fail)

    with reading(engine) as session:
        assert sorted(session.scalars(select(Report.patient_id))) == others


def test_two_jobs_of_one_patient_that_end_together_have_one_report(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    first = submit_job(engine, 1)
    with reading(engine) as session:
        item = session.scalars(select(Item).where(Item.job_id == first)).one()
    target = Target(item.target, instance_id=item.instance_id, patient_id=item.patient_id)
    second = submit_job(engine, 0, extra=[target])
    for _ in (first, second):
        claimed = take(engine, "worker-1")
        assert claimed is not None
        commit(engine, claimed, num_failed=1)

    report_on_all(engine)

    with reading(engine) as session:
        reports = session.scalars(select(Report)).all()
        told = dict(session.execute(select(JobPatient.job_id, JobPatient.report_id)).all())
    assert [report.number for report in reports] == [1]
    assert told == {first: reports[0].id, second: reports[0].id}
