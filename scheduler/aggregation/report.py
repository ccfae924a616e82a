"""The duty: patients whose items in a job are all terminal get a report version."""

import time
from uuid import UUID

import structlog
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from scheduler.aggregation.document import build_document
from scheduler.aggregation.evidence import gather
from shared.clock import utc_now
from shared.db import reading
from shared.identifiers import new_id
from shared.model_contract import ModelContract
from shared.models import Item, Job, JobPatient, ModelVersion, Patient, Report
from shared.outage import is_outage
from shared.repositories.audit import add_audit_event
from shared.repositories.reports import newest_report
from shared.states import ItemState, ReportStatus
from shared.unit_of_work import UnitOfWork

log = structlog.get_logger()

# One look takes this many, so that recovery never waits long for its turn.
DUE_AT_ONCE = 200
PATIENTS_A_TRANSACTION = 20
# A patient whose report cannot be made is tried again after this long; the others go on.
RETRY_S = 60.0


class Aggregation:
    """Makes the reports that are due; remembers which patients to leave alone for a while."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._resting: dict[tuple[UUID, int], float] = {}

    def run(self) -> int:
        """Make reports for due patients; returns how many it settled."""
        now = time.monotonic()
        self._resting = {pair: until for pair, until in self._resting.items() if until > now}
        due = [pair for pair in self._due(DUE_AT_ONCE + len(self._resting)) if pair not in self._resting]
        settled = 0
        for start in range(0, len(due), PATIENTS_A_TRANSACTION):
            with UnitOfWork(self._engine) as uow:
                for job_id, patient_id in due[start : start + PATIENTS_A_TRANSACTION]:
                    settled += self._settle(uow.session, job_id, patient_id)
        return settled

    def _due(self, limit: int) -> list[tuple[UUID, int]]:
        with reading(self._engine) as session:
            statement = (
                select(JobPatient.job_id, JobPatient.patient_id)
                .where(JobPatient.reported_at.is_(None), JobPatient.items_open <= 0)
                .order_by(JobPatient.job_id, JobPatient.patient_id)
                .limit(limit)
            )
            return list(session.execute(statement).all())

    def _settle(self, session: Session, job_id: UUID, patient_id: int) -> bool:
        """One patient in a savepoint of its own: what fails here costs no neighbour."""
        try:
            with session.begin_nested():
                report_id = make_report(session, job_id, patient_id)
                session.execute(
                    update(JobPatient)
                    .where(JobPatient.job_id == job_id, JobPatient.patient_id == patient_id)
                    .values(report_id=report_id, reported_at=utc_now())
                )
        except IntegrityError:
            # Another scheduler made this version at the same moment; the next look finds it.
            return False
        except Exception as error:
            if isinstance(error, SQLAlchemyError) and is_outage(error):
                # It is not the patient: all are tried again at the duty's next turn.
                raise
            self._resting[(job_id, patient_id)] = time.monotonic() + RETRY_S
            # The text and trace of an unforeseen error could hold patient data.
            log.error(  # noqa: TRY400
                "report_failed", job_id=str(job_id), patient_row=patient_id, error=type(error).__name__
            )
            return False
        return True


def make_report(session: Session, job_id: UUID, patient_id: int) -> UUID | None:
    """The report version of a patient after a job: a new one, or the newest where it has the same inputs.

    None where the job was cancelled before anything was known of the patient.
    """
    version = session.get_one(ModelVersion, session.get_one(Job, job_id).model_version_id)
    # Read before the evidence: another scheduler that tells of more in between then takes this number, and this one
    # looks again. The other way round, older evidence would make the newest version.
    previous = newest_report(session, patient_id, version.id)
    evidence = gather(session, patient_id, version)
    if not any(one.frames for one in evidence.instances) and _nothing_known(session, job_id, patient_id):
        return None
    inputs_digest = evidence.digest(version.digest)
    if previous is not None and previous.inputs_digest == inputs_digest:
        return previous.id
    contract = ModelContract.model_validate(version.contract)
    report = Report(
        id=new_id(),
        patient_id=patient_id,
        model_version_id=version.id,
        number=previous.number + 1 if previous else 1,
        inputs_digest=inputs_digest,
        status=ReportStatus.PRELIMINARY,
        document=build_document(contract, evidence) | _nouns(session, patient_id, version, contract),
        supersedes=previous.id if previous else None,
        created_at=utc_now(),
    )
    session.add(report)
    session.flush()
    add_audit_event(session, None, "report.make", "report", report.id, number=report.number)
    return report.id


def _nothing_known(session: Session, job_id: UUID, patient_id: int) -> bool:
    """What was to be predicted on was cancelled, all of it."""
    nothing = (ItemState.CANCELLED, ItemState.SKIPPED)
    statement = select(Item.id).where(Item.job_id == job_id, Item.patient_id == patient_id, Item.state.not_in(nothing))
    return session.scalar(statement.limit(1)) is None


def _nouns(session: Session, patient_id: int, version: ModelVersion, contract: ModelContract) -> dict[str, object]:
    patient = session.get_one(Patient, patient_id)
    return {
        "patient": {
            "key": patient.key,
            "patient_id": patient.patient_id,
            "issuer": patient.issuer,
            "patient_name": patient.patient_name,
            "patient_birth_date": patient.patient_birth_date,
            "patient_sex": patient.patient_sex,
        },
        "model": {
            "name": version.name,
            "version": version.version,
            "digest": version.digest,
            "intended_use": contract.intended_use,
        },
    }
