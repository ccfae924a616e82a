"""The duty: patients whose items in a job are all terminal get a report version."""

import time
from collections.abc import Sequence

import structlog
from sqlalchemy import Engine, Integer, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from scheduler.aggregation.draft import Draft, JobAndPatient, draft_reports
from shared.clock import utc_now
from shared.db import reading
from shared.events import Event
from shared.models import Job, JobPatient, Report, table_of
from shared.outage import is_outage
from shared.repositories.audit import add_audit_events
from shared.repositories.follow_ups import note_suggestions
from shared.repositories.notices import tell_of_reports
from shared.unit_of_work import UnitOfWork

log = structlog.get_logger()

_PATIENTS = table_of(JobPatient).c
# Made once, and on the tables themselves: building a statement takes longer than running it.
_ADD_REPORT = insert(table_of(Report))
_DUE = (
    select(JobPatient.job_id, JobPatient.patient_id, Job.model_version_id)
    .join(Job, Job.id == JobPatient.job_id)
    .where(JobPatient.reported_at.is_(None), JobPatient.items_open <= 0)
    .order_by(JobPatient.job_id, JobPatient.patient_id)
    .limit(bindparam("most", type_=Integer))
)
_SETTLE = (
    update(table_of(JobPatient))
    .where(_PATIENTS.job_id == bindparam("job"), _PATIENTS.patient_id == bindparam("patient"))
    .values(report_id=bindparam("report"), reported_at=bindparam("now"))
)
# One look takes this many, so that recovery never waits long for its turn.
DUE_AT_ONCE = 200
PATIENTS_A_TRANSACTION = 20
# A patient whose report cannot be made is tried again after this long; the others go on.
RETRY_S = 60.0


class Aggregation:
    """Makes the reports that are due; remembers which patients to leave alone for a while."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._resting: dict[JobAndPatient, float] = {}

    def run(self) -> int:
        """Make reports for due patients; returns how many it settled."""
        now = time.monotonic()
        self._resting = {pair: until for pair, until in self._resting.items() if until > now}
        due = self._due(DUE_AT_ONCE + len(self._resting))
        settled = 0
        for version_id, pairs in due.items():
            wanted = [pair for pair in pairs if pair not in self._resting]
            for start in range(0, len(wanted), PATIENTS_A_TRANSACTION):
                settled += self._settle(version_id, wanted[start : start + PATIENTS_A_TRANSACTION])
        return settled

    def _due(self, limit: int) -> dict[int, list[JobAndPatient]]:
        """By model version, so that the patients of many small jobs are reported on together."""
        with reading(self._engine) as session:
            due: dict[int, list[JobAndPatient]] = {}
            for row in session.execute(_DUE, {"most": limit}):
                due.setdefault(row.model_version_id, []).append(JobAndPatient(row.job_id, row.patient_id))
            return due

    def _settle(self, version_id: int, pairs: Sequence[JobAndPatient]) -> int:
        """Report on some patients; where that fails, on each by itself: what fails costs no neighbour.

        Everything is read and computed before the transaction that writes: on SQLite the workers wait for that one.
        """
        try:
            with reading(self._engine) as session:
                drafts = draft_reports(session, version_id, pairs)
            with UnitOfWork(self._engine) as uow:
                _write(uow.session, drafts)
        except Exception as error:
            if isinstance(error, SQLAlchemyError) and is_outage(error):
                # It is not the patient: all are tried again at the duty's next turn.
                raise
            if len(pairs) > 1:
                return sum(self._settle(version_id, [pair]) for pair in pairs)
            if not isinstance(error, IntegrityError):
                self._rest(pairs[0], error)
            # Else another scheduler made this version at the same moment; the next look finds it.
            return 0
        return len(drafts)

    def _rest(self, pair: JobAndPatient, error: Exception) -> None:
        """Leave a patient alone for a while; the text and trace of an unforeseen error could hold patient data."""
        self._resting[pair] = time.monotonic() + RETRY_S
        log.error("report_failed", job_id=str(pair.job_id), patient_row=pair.patient_id, error=type(error).__name__)


def _write(session: Session, drafts: Sequence[Draft]) -> None:
    reports = [draft.report for draft in drafts if draft.report]
    if reports:
        session.execute(_ADD_REPORT, reports)
        numbers = {report["id"]: {"number": report["number"]} for report in reports}
        add_audit_events(session, None, "report.make", "report", numbers)
        note_suggestions(session, reports)
        tell_of_reports(session, Event.REPORT_MADE, reports)
    now = utc_now()
    session.execute(
        _SETTLE,
        [
            {"job": draft.of.job_id, "patient": draft.of.patient_id, "report": draft.report_id, "now": now}
            for draft in drafts
        ],
    )
