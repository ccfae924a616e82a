"""Report versions: immutable, numbered per patient and model version."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, String, bindparam, cast, select
from sqlalchemy.orm import Session, aliased, joinedload

from shared.models import JobPatient, ModelVersion, Patient, Report


def get_report(session: Session, report_id: UUID) -> Report | None:
    """A report version with its patient and model."""
    return session.scalar(_with_nouns().where(Report.id == report_id))


class NewestReport(NamedTuple):
    """The newest version about a patient by a model version, without its document."""

    id: UUID
    number: int
    inputs_digest: str


def _is_newest() -> ColumnElement[bool]:
    newer = aliased(Report)
    return ~(
        select(newer.id)
        .where(
            newer.patient_id == Report.patient_id,
            newer.model_version_id == Report.model_version_id,
            newer.number > Report.number,
        )
        .exists()
    )


# Made once: the statement takes longer to build than to run.
_NEWEST = select(Report.patient_id, Report.id, Report.number, Report.inputs_digest).where(
    Report.patient_id.in_(bindparam("patient_ids", expanding=True)),
    Report.model_version_id == bindparam("model_version_id"),
    _is_newest(),
)


def newest_reports(session: Session, patient_ids: Sequence[int], model_version_id: int) -> dict[int, NewestReport]:
    """The newest version about each patient by a model version; patients without one are left out."""
    given = {"patient_ids": patient_ids, "model_version_id": model_version_id}
    rows = session.execute(_NEWEST, given)
    return {row.patient_id: NewestReport(row.id, row.number, row.inputs_digest) for row in rows}


def list_reports(
    session: Session,
    *,
    job_id: UUID | None = None,
    model: str | None = None,
    patient_key: str | None = None,
    all_versions: bool = False,
    before: UUID | None = None,
    limit: int = 50,
) -> Sequence[Report]:
    """Reports, newest first; unless asked, only the newest version per patient and model version."""
    statement = _with_nouns()
    if job_id is not None:
        of_job = select(JobPatient.report_id).where(JobPatient.job_id == job_id)
        statement = statement.where(Report.id.in_(of_job))
    elif not all_versions:
        statement = statement.where(_is_newest())
    if model is not None:
        statement = statement.where(*_of_model(model))
    if patient_key is not None:
        statement = statement.where(Patient.key == patient_key)
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
