"""Report versions: immutable, numbered per patient and model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, String, bindparam, cast, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, joinedload

from shared.db import among
from shared.models import JobPatient, ModelVersion, Patient, Principal, Report
from shared.reports.versions import NewestReport
from shared.repositories.filters import as_given
from shared.states import SIGNED_STATUSES, ReportStatus


def get_report(session: Session, report_id: UUID) -> Report | None:
    """A report version with its patient and model."""
    return session.scalar(_with_nouns().where(Report.id == report_id))


_NEWER = aliased(Report)


def _is_newest(same: InstrumentedAttribute[Any], of_newer: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    """No version about the patient that has the `same` is newer."""
    return ~(
        select(_NEWER.id)
        .where(_NEWER.patient_id == Report.patient_id, of_newer == same, _NEWER.number > Report.number)
        .exists()
    )


_NEWEST_OF_CHAIN = _is_newest(Report.model_name, _NEWER.model_name)
_NEWEST_OF_MODEL_VERSION = _is_newest(Report.model_version_id, _NEWER.model_version_id)

_HEAD = aliased(Report)
_HEAD_IS_SIGNED = (
    select(_HEAD.id)
    .where(
        _HEAD.patient_id == Report.patient_id,
        _HEAD.model_name == Report.model_name,
        _HEAD.status.in_(SIGNED_STATUSES),
        ~select(_NEWER.id)
        .where(
            _NEWER.patient_id == _HEAD.patient_id, _NEWER.model_name == _HEAD.model_name, _NEWER.number > _HEAD.number
        )
        .exists(),
    )
    .exists()
)

# Made once: the statement takes longer to build than to run.
_NEWEST = select(
    Report.patient_id, Report.id, Report.number, Report.status, Report.inputs_digest, Report.document
).where(
    among(Report.patient_id, "patient_ids"),
    Report.model_name == bindparam("model_name"),
    _NEWEST_OF_CHAIN,
)


def newest_reports(session: Session, patient_ids: Sequence[int], model_name: str) -> dict[int, NewestReport]:
    """The newest version about each patient by a model, whatever its version; patients without one are left out."""
    rows = session.execute(_NEWEST, {"patient_ids": patient_ids, "model_name": model_name})
    return {
        row.patient_id: NewestReport(row.id, row.number, row.status, row.inputs_digest, row.document) for row in rows
    }


_NEWEST_OF_SOME = select(Report.patient_id, Report.model_name, Report.id, Report.number, Report.status).where(
    among(Report.patient_id, "patient_ids"), _NEWEST_OF_CHAIN
)


def newer_of(session: Session, reports: Sequence[Report]) -> dict[UUID, Any]:
    """The newest version (its id, number and status) of the chain of each report that is not the newest itself."""
    rows = session.execute(_NEWEST_OF_SOME, {"patient_ids": sorted({report.patient_id for report in reports})})
    newest = {(row.patient_id, row.model_name): row for row in rows}
    found = {report.id: newest[report.patient_id, report.model_name] for report in reports}
    return {report_id: row for report_id, row in found.items() if row.id != report_id}


def versions_of(session: Session, report: Report, *, after: int = 0, limit: int) -> Sequence[tuple[Report, str | None]]:
    """The chain of a report from the version after number `after` on, the oldest first, each with who made it."""
    statement = _with_nouns().add_columns(Principal.name).outerjoin(Principal, Principal.id == Report.principal_id)
    of_chain = (Report.patient_id == report.patient_id, Report.model_name == report.model_name)
    rows = session.execute(statement.where(*of_chain, Report.number > after).order_by(Report.number).limit(limit))
    return [(row[0], row[1]) for row in rows]


@dataclass(frozen=True)
class ReportFilter:
    """Which reports: unless asked, only the newest version per patient and model.

    Where `model` names a version, the newest that is from it. `unsigned`: of chains whose newest version is not signed.
    """

    job_id: UUID | None = None
    model: str | None = None
    patient_key: str | None = None
    patient_id: str | None = None
    status: ReportStatus | None = None
    unsigned: bool = False
    all_versions: bool = False


def list_reports(
    session: Session, wanted: ReportFilter, *, before: UUID | None = None, limit: int = 50
) -> Sequence[Report]:
    """Reports, newest first, older than the cursor `before`."""
    statement = _with_nouns()
    if wanted.job_id is not None:
        of_job = select(JobPatient.report_id).where(JobPatient.job_id == wanted.job_id)
        statement = statement.where(Report.id.in_(of_job))
    elif not wanted.all_versions:
        has_number = wanted.model is not None and ":" in wanted.model
        statement = statement.where(_NEWEST_OF_MODEL_VERSION if has_number else _NEWEST_OF_CHAIN)
    if wanted.model is not None:
        statement = statement.where(*_of_model(wanted.model))
    if wanted.unsigned:
        statement = statement.where(~_HEAD_IS_SIGNED)
    given = as_given(
        (Patient.key, wanted.patient_key), (Patient.patient_id, wanted.patient_id), (Report.status, wanted.status)
    )
    statement = statement.where(*given)
    if before is not None:
        statement = statement.where(Report.id < before)
    return session.scalars(statement.order_by(Report.id.desc()).limit(limit)).all()


def _with_nouns() -> Select[Report]:
    return (
        select(Report)
        .join(Report.patient)
        .join(Report.model_version)
        .options(joinedload(Report.patient), joinedload(Report.model_version))
    )


def _of_model(model: str) -> list[ColumnElement[bool]]:
    name, _, number = model.partition(":")
    conditions: list[ColumnElement[bool]] = [ModelVersion.name == name]
    if number:
        conditions.append(cast(ModelVersion.version, String) == number)
    return conditions
