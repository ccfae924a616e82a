"""What a job over an upload would make of some of its files: planned as that job is, and no more than settles it."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from shared.model_contract import AllSlices
from shared.model_package import ModelContract
from shared.models import Instance, ModelVersion, UploadFile
from shared.planning.plan import Selection, plan_job
from shared.repositories.jobs import Target
from shared.repositories.parts import in_parts
from shared.states import Explain


def planned(
    session: Session, upload_id: UUID, instance_ids: Sequence[int], version: ModelVersion, explain: Explain
) -> dict[int, Target]:
    """By instance id, the item that each of these instances of the upload would be in a job of it."""
    if not instance_ids:
        return {}
    settled_by = set(instance_ids)
    if not isinstance(ModelContract.model_validate(version.contract).slices.select, AllSlices):
        settled_by |= _series_of(session, upload_id, instance_ids)
    plan = plan_job(session, Selection(instances=sorted(settled_by)), version, generation=0, explain=explain)
    return {target.instance_id: target for target in plan.targets if target.instance_id is not None}


def _series_of(session: Session, upload_id: UUID, instance_ids: Sequence[int]) -> set[int]:
    """What else the upload has of their series: which slices are selected is settled by all of them."""
    other = aliased(Instance)
    found: set[int] = set()
    for some in in_parts(instance_ids):
        statement = (
            select(other.id)
            .join(Instance, Instance.series_id == other.series_id)
            .join(UploadFile, UploadFile.instance_id == other.id)
            .where(Instance.id.in_(some), UploadFile.upload_id == upload_id)
        )
        found.update(session.scalars(statement))
    return found
