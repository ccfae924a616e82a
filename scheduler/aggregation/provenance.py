"""How a report was made, from the record itself: its inputs by digest, the model, the software, and who asked."""

from collections.abc import Collection, Sequence
from functools import cache
from importlib.metadata import version as version_of
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from scheduler.aggregation.evidence import Evidence, InstanceEvidence
from shared.models import Job, ModelVersion, Principal
from shared.reports.provenance import vectors_digest
from shared.repositories.audit_chain import newest_seal
from shared.repositories.environments import environments

# Made once: a look at a few patients takes less time than building its statements.
_ORIGINS = (
    select(Job.id, Job.label, Job.created_at, Job.started_at, Principal.name)
    .join(Principal, Principal.id == Job.principal_id)
    .where(Job.id.in_(bindparam("job_ids", expanding=True)))
)


@cache
def _own_version() -> str:
    return version_of("overread")


class Origins:
    """What the reports of some jobs have in common: who asked, what computed, and how far the audit chain was."""

    def __init__(self, session: Session, job_ids: Collection[UUID], evidence: Collection[Evidence]) -> None:
        self._seal = newest_seal(session)
        self._jobs = {row.id: row for row in session.execute(_ORIGINS, {"job_ids": list(job_ids)})}
        named = {one.environment_id for found in evidence for one in found.instances if one.environment_id is not None}
        self._environments = environments(session, named)

    def provenance(
        self, job_id: UUID, found: Evidence, version: ModelVersion, counted: Collection[int]
    ) -> dict[str, Any]:
        """Of the report that a job led to; `counted` are the rows of the studies that its result is about."""
        predicted = [one for one in found.instances if one.frames]
        # In the order in which they come; an instance names its own by that place.
        used = list(dict.fromkeys(one.environment_id for one in predicted))
        return {
            "inputs": [_input(one, one.study_row in counted, used.index(one.environment_id)) for one in predicted],
            "left_out": _left_out(found.instances),
            "conflicts": sorted(one.blob_sha256 for one in found.instances if one.conflict),
            "model": {
                "digest": version.digest,
                "contract_sha256": version.contract_sha256,
                "weights_sha256": version.weights_sha256,
            },
            "software": {
                "overread": _own_version(),
                "environments": [self._environments.get(one or 0) for one in used],
            },
            "job": self._job(job_id),
            "audit_chain": dict(vars(self._seal)),
        }

    def _job(self, job_id: UUID) -> dict[str, Any]:
        job = self._jobs[job_id]
        return {
            "id": str(job_id),
            "label": job.label,
            "asked_by": job.name,
            "asked_at": job.created_at.isoformat(),
            "started_at": job.started_at.isoformat() if job.started_at else None,
        }


def _input(one: InstanceEvidence, is_counted: bool, environment: int) -> dict[str, Any]:
    """Of what is usual nothing is said, so that reports of many instances stay short."""
    told: dict[str, Any] = {
        "sop_instance_uid": one.sop_instance_uid,
        "blob_sha256": one.blob_sha256,
        "generation": one.generation,
        "frames": len(one.frames),
        "vectors": vectors_digest(one.frames),
    }
    if environment:
        told["environment"] = environment
    return told if is_counted else told | {"counted": False}


def _left_out(instances: Sequence[InstanceEvidence]) -> dict[str, list[str]]:
    """The blobs without predictions, by reason."""
    found: dict[str, list[str]] = {}
    for one in instances:
        if not one.frames:
            found.setdefault(one.reason or "", []).append(one.blob_sha256)
    return found
