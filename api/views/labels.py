"""Labels that stand, with what they speak of."""

from typing import Any

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from api.paging import integer_cursor, page_of
from api.schemas.labels import LabelQuery, LabelShown
from shared.models import Instance, Label, Patient, PatientSplit, Study
from shared.repositories.labels import decides, is_contradicted
from shared.states import TargetLevel


def labels_shown(session: Session, query: LabelQuery) -> Any:
    """A page of them."""
    of_study = and_(Label.level == TargetLevel.STUDY, Study.id == Label.target_id)
    of_instance = and_(Label.level == TargetLevel.INSTANCE, Instance.id == Label.target_id)
    statement = (
        select(
            Label,
            Patient.key,
            PatientSplit.split,
            Study.study_instance_uid,
            Instance.sop_instance_uid,
            decides().label("decides"),
            is_contradicted().label("contradicted"),
        )
        .join(Patient, Patient.id == Label.patient_id)
        .join(PatientSplit, PatientSplit.patient_id == Label.patient_id)
        .outerjoin(Study, of_study)
        .outerjoin(Instance, of_instance)
        .where(Label.superseded_at.is_(None), *_filters(query))
        .order_by(Label.id.desc())
        .limit(query.limit + 1)
    )
    rows = session.execute(statement).all()
    return page_of(rows, query.limit, lambda row: _shown(*row), lambda row: str(row[0].id))


def _filters(query: LabelQuery) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if query.finding is not None:
        found.append(Label.finding == query.finding)
    if query.source is not None:
        found.append(Label.source == query.source)
    if query.level is not None:
        found.append(Label.level == query.level)
    if query.patient is not None:
        found.append(Patient.key == query.patient)
    if query.contradicted:
        found.append(is_contradicted())
    before = integer_cursor(query.cursor)
    if before is not None:
        found.append(Label.id < before)
    return found


def _shown(
    label: Label, patient_key: str, split: Any, study_uid: str | None, sop_uid: str | None, *flags: bool
) -> LabelShown:
    decides_it, contradicted = flags
    return LabelShown(
        id=label.id,
        level=label.level,
        patient_key=patient_key,
        study_instance_uid=study_uid,
        sop_instance_uid=sop_uid,
        finding=label.finding,
        value=label.value,
        source=label.source,
        model=label.model_name or None,
        who=label.who,
        decides=decides_it,
        contradicted=contradicted,
        split=split,
        created_at=label.created_at,
    )
