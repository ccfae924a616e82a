"""What the report versions of a job's patients will say; this only reads, so that nobody waits for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.aggregation.document import build_document
from scheduler.aggregation.evidence import Evidence, gather
from shared.clock import utc_now
from shared.identifiers import new_id
from shared.model_contract import ModelContract
from shared.models import Item, Job, ModelVersion, Patient
from shared.repositories.reports import NewestReport, newest_reports
from shared.states import ItemState, ReportStatus


@dataclass(frozen=True)
class Draft:
    """The report of a patient after a job: the columns of a new version, none where `report_id` is there already.

    No `report_id`: the job was cancelled before anything was known of the patient.
    """

    job_id: UUID
    patient_id: int
    report_id: UUID | None
    report: dict[str, Any] | None = None


def draft_reports(session: Session, job_id: UUID, patient_ids: Sequence[int]) -> list[Draft]:
    """A draft for each patient: a new version, or the newest one where it has the same inputs."""
    version = session.get_one(ModelVersion, session.get_one(Job, job_id).model_version_id)
    contract = ModelContract.model_validate(version.contract)
    # Read before the evidence: another scheduler that tells of more in between then takes this number, and this one
    # looks again. The other way round, older evidence would make the newest version.
    newest = newest_reports(session, patient_ids, version.id)
    evidence = gather(session, patient_ids, version)
    patients = session.scalars(select(Patient).where(Patient.id.in_(patient_ids)))
    drafts = []
    for patient in patients:
        found = evidence[patient.id]
        if not any(one.frames for one in found.instances) and _nothing_known(session, job_id, patient.id):
            drafts.append(Draft(job_id, patient.id, None))
            continue
        previous, inputs_digest = newest.get(patient.id), found.digest(version.digest)
        if previous is not None and previous.inputs_digest == inputs_digest:
            drafts.append(Draft(job_id, patient.id, previous.id))
            continue
        report = _columns(patient, version, contract, found, previous) | {"inputs_digest": inputs_digest}
        drafts.append(Draft(job_id, patient.id, report["id"], report))
    return drafts


def _nothing_known(session: Session, job_id: UUID, patient_id: int) -> bool:
    """What was to be predicted on was cancelled, all of it."""
    nothing = (ItemState.CANCELLED, ItemState.SKIPPED)
    statement = select(Item.id).where(Item.job_id == job_id, Item.patient_id == patient_id, Item.state.not_in(nothing))
    return session.scalar(statement.limit(1)) is None


def _columns(
    patient: Patient, version: ModelVersion, contract: ModelContract, evidence: Evidence, previous: NewestReport | None
) -> dict[str, Any]:
    return {
        "id": new_id(),
        "patient_id": patient.id,
        "model_version_id": version.id,
        "number": previous.number + 1 if previous else 1,
        "status": ReportStatus.PRELIMINARY,
        "document": build_document(contract, evidence) | _nouns(patient, version, contract),
        "supersedes": previous.id if previous else None,
        "created_at": utc_now(),
    }


def _nouns(patient: Patient, version: ModelVersion, contract: ModelContract) -> dict[str, object]:
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
