"""The duty: patients whose items in a job are all terminal get a report version."""

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine, Integer, Select, bindparam, insert, select, update
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
_Due = Select[UUID, int, int]
# On PostgreSQL schedulers beside each other leave out what one of them has taken.
_UNREPORTED = (
    select(JobPatient.job_id, JobPatient.patient_id, Job.model_version_id)
    .join(Job, Job.id == JobPatient.job_id)
    .where(JobPatient.reported_at.is_(None), JobPatient.items_open <= 0)
    .with_for_update(of=JobPatient, skip_locked=True)
)
# In the index's order: to sort all that is due, for a few of them, takes longer than to report on those.
DUE = _UNREPORTED.order_by(JobPatient.reported_at, JobPatient.items_open).limit(bindparam("most", type_=Integer))
_OF_PAIR = _UNREPORTED.where(JobPatient.job_id == bindparam("job_id"), JobPatient.patient_id == bindparam("patient_id"))
_SETTLE = (
    update(table_of(JobPatient))
    .where(_PATIENTS.job_id == bindparam("job"), _PATIENTS.patient_id == bindparam("patient"))
    .where(_PATIENTS.reported_at.is_(None))
    .values(report_id=bindparam("report"), reported_at=bindparam("now"))
)
# The duty returns after about so long, so that recovery never waits long for its turn.
LOOK_S = 0.4
# So many patients are reported on together: more where it is soon done, fewer where they have many images.
FEWEST, MOST = 20, 200
SOON_S = 0.2
# A patient whose report cannot be made is tried again after this long; the others go on.
RETRY_S = 60.0


class Aggregation:
    """Makes the reports that are due; remembers which patients to leave alone for a while."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._at_once = FEWEST
        self._resting: dict[JobAndPatient, float] = {}

    def run(self) -> int:
        """Make reports for due patients, for a moment; returns how many it settled."""
        began = now = time.monotonic()
        self._resting = {pair: until for pair, until in self._resting.items() if until > began}
        settled = newly = self._settle_some()
        while newly and now - began < LOOK_S:
            newly = self._settle_some()
            settled += newly
            now = time.monotonic()
        return settled

    def _settle_some(self) -> int:
        """Report on some patients; where that fails, on each by itself: what fails costs no neighbour."""
        began, num_wanted = time.monotonic(), self._at_once
        try:
            settled = self._settle(DUE, most=num_wanted + len(self._resting))
        except Exception as error:
            if _is_outage(error):
                raise
            self._at_once = FEWEST
            with reading(self._engine) as session:
                due = self._due(session, DUE, most=FEWEST + len(self._resting))
            return sum(self._settle_one(pair) for pairs in due.values() for pair in pairs)
        took_s = time.monotonic() - began
        if took_s > 2 * SOON_S:
            self._at_once = max(FEWEST, num_wanted // 2)
        elif took_s < SOON_S and settled >= num_wanted:
            self._at_once = min(MOST, num_wanted * 2)
        return settled

    def _settle_one(self, pair: JobAndPatient) -> int:
        try:
            return self._settle(_OF_PAIR, **pair._asdict())
        except Exception as error:
            if _is_outage(error):
                raise
            # Else another scheduler made this version at the same moment; the next look finds it.
            if not isinstance(error, IntegrityError):
                self._rest(pair, error)
            return 0

    def _settle(self, which: _Due, **given: Any) -> int:
        """Report on these, in one transaction; returns on how many."""
        if self._engine.dialect.name == "postgresql":
            # What is due is held until it is written, so that no other scheduler does the same work.
            with UnitOfWork(self._engine) as uow:
                drafts = self._drafts(uow.session, which, **given)
                write_reports(uow.session, drafts)
            return len(drafts)
        # The workers wait for who writes, so everything is read and computed before.
        with reading(self._engine) as session:
            drafts = self._drafts(session, which, **given)
        if drafts:
            with UnitOfWork(self._engine) as uow:
                write_reports(uow.session, drafts)
        return len(drafts)

    def _drafts(self, session: Session, which: _Due, **given: Any) -> list[Draft]:
        """Of one model version; the turn of the others comes next."""
        due = self._due(session, which, **given)
        for version_id, pairs in due.items():
            return draft_reports(session, version_id, pairs)
        return []

    def _due(self, session: Session, which: _Due, **given: Any) -> dict[int, list[JobAndPatient]]:
        """By model version, so that the patients of many small jobs are reported on together.

        A patient's jobs are in their order, and schedulers beside each other write about patients in the same order.
        """
        due: dict[int, list[JobAndPatient]] = {}
        for row in session.execute(which, given):
            pair = JobAndPatient(row.job_id, row.patient_id)
            if pair not in self._resting:
                due.setdefault(row.model_version_id, []).append(pair)
        return {
            version: sorted(pairs, key=lambda pair: (pair.patient_id, pair.job_id)) for version, pairs in due.items()
        }

    def _rest(self, pair: JobAndPatient, error: Exception) -> None:
        """Leave a patient alone for a while; the text and trace of an unforeseen error could hold patient data."""
        self._resting[pair] = time.monotonic() + RETRY_S
        log.error("report_failed", job_id=str(pair.job_id), patient_row=pair.patient_id, error=type(error).__name__)


def _is_outage(error: Exception) -> bool:
    """It is not the patient: all are tried again at the duty's next turn."""
    return isinstance(error, SQLAlchemyError) and is_outage(error)


def write_reports(session: Session, drafts: Sequence[Draft]) -> None:
    """Drafts -> rows, in the caller's transaction."""
    reports = [draft.report for draft in drafts if draft.report]
    if reports:
        session.execute(_ADD_REPORT, reports)
        told = {one["id"]: {name: one[name] for name in ("number", "content_digest")} for one in reports}
        add_audit_events(session, None, "report.make", "report", told)
        note_suggestions(session, reports)
        tell_of_reports(session, Event.REPORT_MADE, reports)
    now = utc_now()
    settled = [
        {"job": draft.of.job_id, "patient": draft.of.patient_id, "report": draft.report_id, "now": now}
        for draft in drafts
    ]
    if settled:
        session.execute(_SETTLE, settled)
