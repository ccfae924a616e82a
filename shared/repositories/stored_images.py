"""Stored instances as a viewer looks for them: by their UIDs, and those of a series as they lie in the patient."""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from shared.dicom.planes import Plane, planes_of_document
from shared.models import Instance, Series, Study
from shared.slices import Slice, stacks_of


def find_instance(session: Session, study_uid: str, series_uid: str, instance_uid: str) -> Instance | None:
    """The instance of these UIDs; of several files that claim to be it, the first that came."""
    of_uid = _of_study(study_uid).where(Series.series_instance_uid == series_uid)
    return session.scalar(of_uid.where(Instance.sop_instance_uid == instance_uid).limit(1))


def instances_of(session: Session, study_uid: str, series_uid: str) -> list[Instance]:
    """Those of a series: stack by stack along the normal, what has no one plane by InstanceNumber; each UID once."""
    found = session.scalars(_of_study(study_uid).where(Series.series_instance_uid == series_uid))
    return _in_order(list({one.sop_instance_uid: one for one in reversed(found.all())}.values()))


def middle_instance(session: Session, study_uid: str, series_uid: str | None = None) -> Instance | None:
    """What stands for a series, or for the first series of a study that has pixels: the middle of its images."""
    of_images = _of_study(study_uid).where(Instance.has_pixel_data)
    if series_uid is None:
        first = of_images.with_only_columns(Series.series_instance_uid).order_by(None).order_by(Series.id, Instance.id)
        series_uid = session.scalar(first.limit(1))
    images = _in_order(session.scalars(of_images.where(Series.series_instance_uid == series_uid)).all())
    return images[len(images) // 2] if images else None


def uids_of(session: Session, blobs: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """By blob the study, series and SOP instance UIDs, of those whose UIDs name no other file."""
    columns = (Study.study_instance_uid, Series.series_instance_uid, Instance.sop_instance_uid)
    joined = select(Instance.blob_sha256, *columns).join(Instance.series).join(Series.study)
    found = session.execute(joined.where(Instance.blob_sha256.in_(blobs), Instance.sop_conflict.is_(False)))
    return {blob: (study, series, instance) for blob, study, series, instance in found}


def _of_study(study_uid: str) -> Select[Instance]:
    joined = select(Instance).join(Series, Instance.series_id == Series.id).join(Study, Series.study_id == Study.id)
    return joined.where(Study.study_instance_uid == study_uid).order_by(Instance.id)


def _in_order(instances: Sequence[Instance]) -> list[Instance]:
    slices = [Slice(_plane_of(one), one.instance_number, one.sop_instance_uid) for one in instances]
    return [instances[at] for stack in stacks_of(slices) for place in stack.places for at in place]


def _plane_of(instance: Instance) -> Plane | None:
    """A multi-frame instance has many, so none."""
    planes = planes_of_document(instance.planes) if instance.number_of_frames == 1 else ()
    return planes[0] if planes else None
