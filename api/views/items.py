"""What became of each file and instance of a job."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from api.paging import integer_cursor, page_of
from api.schemas.jobs import ItemQuery, ItemShown
from shared.models import Instance, Item, Patient, Series, Study, UploadFile
from shared.reasons import REASON_TEXTS, failure_of, reasons_of


def items_shown(session: Session, job_id: UUID, query: ItemQuery) -> Any:
    """A page of items."""
    statement = (
        select(Item, Instance, Study, Patient.key, UploadFile)
        .outerjoin(Instance, Instance.id == Item.instance_id)
        .outerjoin(Series, Series.id == Instance.series_id)
        .outerjoin(Study, Study.id == Series.study_id)
        .outerjoin(Patient, Patient.id == Item.patient_id)
        .outerjoin(UploadFile, UploadFile.id == Item.upload_file_id)
        .where(Item.job_id == job_id)
        .order_by(Item.id)
        .limit(query.limit + 1)
    )
    filters: list[ColumnElement[bool]] = []
    if query.state is not None:
        filters.append(Item.state == query.state)
    if query.reason is not None:
        filters.append(Item.reason == query.reason)
    if query.failure is not None:
        filters.append(Item.reason.in_(sorted(reasons_of(query.failure))))
    if query.quarantined is not None:
        filters.append(Item.quarantined.is_(query.quarantined))
    after = integer_cursor(query.cursor)
    if after is not None:
        statement = statement.where(Item.id > after)
    rows = session.execute(statement.where(*filters)).all()
    return page_of(rows, query.limit, lambda row: _shown(*row), lambda row: str(row[0].id))


def _shown(
    item: Item, instance: Instance | None, study: Study | None, patient_key: str | None, file: UploadFile | None
) -> ItemShown:
    uid = instance.sop_instance_uid if instance else None
    return ItemShown(
        id=item.id,
        name=(file.name if file else "") or uid or item.target,
        sha256=instance.blob_sha256 if instance else file.sha256 if file else None,
        sop_instance_uid=uid,
        study_instance_uid=study.study_instance_uid if study else None,
        patient_key=patient_key,
        state=item.state,
        reason=item.reason,
        reason_text=REASON_TEXTS[item.reason] if item.reason else None,
        detail=item.detail,
        failure=failure_of(item.reason) if item.reason else None,
        quarantined=item.quarantined,
        evidence=item.evidence,
        tries=item.tries,
        frames=item.frames,
        reused=item.reused,
        conflict=bool((instance and instance.sop_conflict) or (study and study.patient_conflict)),
    )
