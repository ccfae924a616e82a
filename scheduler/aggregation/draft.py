"""What the report versions of a job's patients will say; this only reads, so that nobody waits for it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.aggregation.document import build_document
from scheduler.aggregation.evidence import gather
from scheduler.aggregation.follow_ups import suggestions
from shared.clock import utc_now
from shared.model_contract import ModelContract
from shared.models import Item, ModelVersion, Patient
from shared.reports.trend import trend
from shared.reports.versions import Act, NewestReport, next_version
from shared.repositories.reports import newest_reports
from shared.states import ItemState, ReportOrigin, ReportStatus

NEWEST_COLUMNS = [field.name for field in fields(NewestReport)]


class JobAndPatient(NamedTuple):
    """A patient all of whose items in a job are terminal."""

    job_id: UUID
    patient_id: int


@dataclass(frozen=True)
class Draft:
    """The report of a patient after a job: the columns of a new version, none where `report_id` is there already.

    No `report_id`: the job was cancelled before anything was known of the patient.
    """

    of: JobAndPatient
    report_id: UUID | None
    report: dict[str, Any] | None = None


def draft_reports(session: Session, version_id: int, pairs: Sequence[JobAndPatient]) -> list[Draft]:
    """A draft for each patient of jobs of one model version: a new report, or the newest where it has the same inputs.

    They are to be written in their order: of two jobs of one patient the first makes the report that both have. The
    versions of a model have one chain of reports about a patient, so another version of it makes the next one.
    """
    version = session.get_one(ModelVersion, version_id)
    contract = ModelContract.model_validate(version.contract)
    patient_ids = sorted({pair.patient_id for pair in pairs})
    # Read before the evidence: another scheduler that tells of more in between then takes this number, and this one
    # looks again. The other way round, older evidence would make the newest version.
    newest = newest_reports(session, patient_ids, version.name)
    evidence = gather(session, patient_ids, version)
    patients = {one.id: one for one in session.scalars(select(Patient).where(Patient.id.in_(patient_ids)))}
    drafts = []
    for pair in pairs:
        found = evidence[pair.patient_id]
        if not any(one.frames for one in found.instances) and _nothing_known(session, pair):
            drafts.append(Draft(pair, None))
            continue
        previous, inputs_digest = newest.get(pair.patient_id), found.digest(version.digest)
        if previous is not None and previous.inputs_digest == inputs_digest:
            drafts.append(Draft(pair, previous.id))
            continue
        document = build_document(contract, found) | _nouns(patients[pair.patient_id], version, contract)
        document["trend"] = trend(previous.document if previous else None, document)
        act = Act(ReportOrigin.RESULTS, ReportStatus.PRELIMINARY, utc_now())
        document["follow_ups"] = suggestions(contract, document, act.at)
        report = next_version(act, document, inputs_digest, previous)
        drafts.append(Draft(pair, report["id"], report | _of_chain(pair.patient_id, version)))
        newest[pair.patient_id] = NewestReport(**{name: report[name] for name in NEWEST_COLUMNS})
    return drafts


def _nothing_known(session: Session, pair: JobAndPatient) -> bool:
    """What was to be predicted on was cancelled, all of it."""
    nothing = (ItemState.CANCELLED, ItemState.SKIPPED)
    of_pair = (Item.job_id == pair.job_id, Item.patient_id == pair.patient_id)
    statement = select(Item.id).where(*of_pair, Item.state.not_in(nothing))
    return session.scalar(statement.limit(1)) is None


def _of_chain(patient_id: int, version: ModelVersion) -> dict[str, Any]:
    return {"patient_id": patient_id, "model_name": version.name, "model_version_id": version.id}


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
