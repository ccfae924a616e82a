"""What the report versions of a job's patients will say; this only reads, so that nobody waits for it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from scheduler.aggregation.document import build_document
from scheduler.aggregation.evidence import gather
from scheduler.aggregation.follow_ups import suggestions
from scheduler.aggregation.provenance import Origins
from shared.clock import utc_now
from shared.db import among
from shared.model_contract import ModelContract
from shared.models import Instance, Item, ModelVersion, Patient, Series, Study, table_of
from shared.reports.trend import trend
from shared.reports.versions import Act, NewestReport, next_version
from shared.repositories.reports import newest_reports
from shared.states import ItemState, ReportOrigin, ReportStatus

PATIENTS = select(table_of(Patient)).where(among(Patient.id, "patient_ids"))
# By way of the instances: a job's items have no order by patient, and a job can have a million.
_KNOWN = (
    select(Item.job_id, Study.patient_id)
    .join(Instance, Instance.id == Item.instance_id)
    .join(Series, Series.id == Instance.series_id)
    .join(Study, Study.id == Series.study_id)
    .where(among(Study.patient_id, "patient_ids"), Item.model_version_id == bindparam("model_version_id"))
    .where(Item.state.not_in((ItemState.CANCELLED, ItemState.SKIPPED)))
    .distinct()
)
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
    patients = {row.id: row for row in session.execute(PATIENTS, {"patient_ids": patient_ids})}
    blank = {row for row, found in evidence.items() if not any(one.frames for one in found.instances)}
    known = _known(session, sorted(blank), version_id) if blank else set()
    origins = Origins(session, {pair.job_id for pair in pairs}, evidence.values())
    drafts = []
    for pair in pairs:
        found = evidence[pair.patient_id]
        if pair.patient_id in blank and pair not in known:
            drafts.append(Draft(pair, None))
            continue
        previous, inputs_digest = newest.get(pair.patient_id), found.digest(version.digest)
        if previous is not None and previous.inputs_digest == inputs_digest:
            drafts.append(Draft(pair, previous.id))
            continue
        document = build_document(contract, found) | _nouns(patients[pair.patient_id], version, contract)
        told = zip(found.studies, document["studies"], strict=True)
        counted = {study.row for study, said in told if said["in_scope"]}
        made = origins.provenance(pair.job_id, found, version, counted)
        document["provenance"] = made | {"inputs_digest": inputs_digest}
        document["trend"] = trend(previous.document if previous else None, document)
        act = Act(ReportOrigin.RESULTS, ReportStatus.PRELIMINARY, utc_now())
        document["follow_ups"] = suggestions(contract, document, act.at)
        report = next_version(act, document, inputs_digest, previous)
        drafts.append(Draft(pair, report["id"], report | _of_chain(pair.patient_id, version)))
        newest[pair.patient_id] = NewestReport(**{name: report[name] for name in NEWEST_COLUMNS})
    return drafts


def _known(session: Session, patient_ids: Sequence[int], version_id: int) -> set[JobAndPatient]:
    """Where not all that was to be predicted on was cancelled."""
    rows = session.execute(_KNOWN, {"patient_ids": patient_ids, "model_version_id": version_id})
    return {JobAndPatient(row.job_id, row.patient_id) for row in rows}


def _of_chain(patient_id: int, version: ModelVersion) -> dict[str, Any]:
    return {"patient_id": patient_id, "model_name": version.name, "model_version_id": version.id}


def _nouns(patient: Any, version: ModelVersion, contract: ModelContract) -> dict[str, object]:
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
