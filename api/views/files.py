"""What the files of an upload are, and what a job would make of each."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.paging import integer_cursor, page_of
from api.schemas.uploads import FileQuery, FileShown, Planned, UploadedFile
from shared.models import Instance, Patient, Series, Study, Upload, UploadFile
from shared.planning.files import planned
from shared.planning.plan import resolve_model
from shared.reasons import REASON_TEXTS, Reason
from shared.repositories.jobs import Target
from shared.repositories.uploads import count_outcomes
from shared.states import FileOutcome, ItemState

PLANNED_OF = {
    Reason.NOT_ACCEPTED_BY_MODEL: Planned.NOT_ACCEPTED,
    Reason.NO_PIXEL_DATA: Planned.NO_PIXEL_DATA,
    Reason.NOT_SELECTED: Planned.NOT_SELECTED,
}


def uploaded_file(file: UploadFile) -> UploadedFile:
    """A file as its upload took it in."""
    return UploadedFile(
        name=file.name,
        outcome=file.outcome,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        reason=file.reason,
        reason_text=REASON_TEXTS[file.reason] if file.reason else None,
        detail=file.detail,
    )


def files_shown(session: Session, upload: Upload, query: FileQuery) -> Any:
    """A page of files, with the counts of them all."""
    statement = (
        select(UploadFile, Instance, Series, Study, Patient.patient_id)
        .outerjoin(Instance, Instance.id == UploadFile.instance_id)
        .outerjoin(Series, Series.id == Instance.series_id)
        .outerjoin(Study, Study.id == Series.study_id)
        .outerjoin(Patient, Patient.id == Study.patient_id)
        .where(UploadFile.upload_id == upload.id, UploadFile.id > (integer_cursor(query.cursor) or 0))
        .order_by(UploadFile.id)
        .limit(query.limit + 1)
    )
    if query.outcome is not None:
        statement = statement.where(UploadFile.outcome == query.outcome)
    rows = session.execute(statement).all()
    targets = _targets(session, upload, [row[1].id for row in rows if row[1]], query)

    def show(row: Any) -> FileShown:
        return _shown(row, targets.get(row.Instance.id) if row.Instance else None)

    page, status, headers = page_of(rows, query.limit, show, lambda row: str(row[0].id))
    counts = count_outcomes(session, upload.id)
    return page | {"counts": {outcome.value: counts[outcome] for outcome in FileOutcome}}, status, headers


def _targets(session: Session, upload: Upload, instance_ids: Sequence[int], query: FileQuery) -> dict[int, Target]:
    if query.model is None:
        return {}
    version = resolve_model(session, query.model)
    return planned(session, upload.id, instance_ids, version, query.explain)


def _shown(row: Any, target: Target | None) -> FileShown:
    file, instance, series, study, patient_id = row
    return FileShown(
        **uploaded_file(file).model_dump(),
        id=file.id,
        patient_id=patient_id,
        modality=series.modality if series else None,
        study_date=study.study_date if study else None,
        study_instance_uid=study.study_instance_uid if study else None,
        series_instance_uid=series.series_instance_uid if series else None,
        sop_instance_uid=instance.sop_instance_uid if instance else None,
        number_of_frames=instance.number_of_frames if instance else None,
        planned=_planned(target) if target else None,
        planned_detail=target.detail if target else "",
    )


def _planned(target: Target) -> Planned:
    if target.state is ItemState.PENDING:
        return Planned.NEW
    return PLANNED_OF[target.reason] if target.reason else Planned.ALREADY_PREDICTED
