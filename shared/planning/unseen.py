"""What no job has asked a model about: the work of a nightly batch."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from shared.model_contract import ModelContract
from shared.models import Instance, Item, ModelVersion, Series


def unseen_instances(session: Session, version: ModelVersion, most: int, *, every_version: bool) -> Sequence[int]:
    """The ids of stored instances that the version accepts and that are in no job of it, the oldest first.

    Nor in one of another version of that name, unless `every_version` is to be asked.
    """
    found = select(Instance.id).join(Instance.series).where(*_unseen(version, every_version=every_version))
    return session.scalars(found.order_by(Instance.id).limit(most)).all()


def count_unseen(session: Session, version: ModelVersion, *, every_version: bool) -> int:
    """How many there are."""
    found = select(func.count()).select_from(Instance).join(Instance.series)
    return session.scalar(found.where(*_unseen(version, every_version=every_version))) or 0


def _unseen(version: ModelVersion, *, every_version: bool) -> list[ColumnElement[bool]]:
    versions = select(ModelVersion.id)
    chosen = ModelVersion.id == version.id if every_version else ModelVersion.name == version.name
    asked = select(Item.id).where(Item.instance_id == Instance.id, Item.model_version_id.in_(versions.where(chosen)))
    accepts = ModelContract.model_validate(version.contract).accepts
    restricted = (
        (Series.modality, accepts.modalities),
        (Instance.sop_class_uid, accepts.sop_class_uids),
        (Series.body_part_examined, accepts.body_parts),
        (Instance.photometric_interpretation, accepts.photometric_interpretations),
    )
    fits = [
        func.lower(func.trim(column)).in_([value.strip().lower() for value in allowed])
        for column, allowed in restricted
        if allowed is not None
    ]
    return [*fits, Instance.has_pixel_data.is_(True), ~asked.exists()]
