"""Verifications of reports: made as jobs, their findings noted under the fence, listed by report."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.draw import drawn_share
from shared.models import Instance, Item, Job, Report, Verification
from shared.reports.provenance import inputs_of
from shared.repositories.jobs import NewJob, Target, create_job
from shared.repositories.parts import in_parts
from shared.states import ItemState

# Beside the instances that are computed again: everything about the report that needs no pixels.
RECORD = "record"


def create_verification(
    session: Session, new: NewJob, report: Report, sample: int | None, *, shard_items: int, actor: str
) -> tuple[Job, int]:
    """A job about the record and about as many of the instances, drawn by the request's seed; and its shards' number.

    Its items are no patient's, so no report comes of them.
    """
    blobs = drawn_inputs(report.document, sample, str(new.request["seed"]))
    targets = [Target(f"instance:{one}", instance_id=one) for one in _instances(session, blobs)]
    job_id, shards = create_job(session, new, [Target(RECORD), *targets], shard_items=shard_items, actor=actor)
    session.add(Verification(job_id=job_id, report_id=report.id, sample=sample))
    session.flush()
    return session.get_one(Job, job_id), shards


def drawn_inputs(document: dict[str, Any], sample: int | None, seed: str) -> list[str]:
    """The blobs to compute again: all, or so many that a hash with the seed draws, the same each time."""
    return sorted(inputs_of(document), key=lambda blob: drawn_share(seed, blob))[:sample]


def _instances(session: Session, blobs: Sequence[str]) -> list[int]:
    found: list[int] = []
    for some in in_parts(blobs):
        found += session.scalars(select(Instance.id).where(Instance.blob_sha256.in_(some)))
    return sorted(found)


def verification_of(session: Session, job_id: UUID) -> Verification | None:
    """What a verification job is about; None of other jobs."""
    return session.get(Verification, job_id)


def verifications_of(
    session: Session, report_id: UUID, *, before: UUID | None, limit: int
) -> Sequence[tuple[Verification, Job]]:
    """Those of a report, the newest first."""
    statement = select(Verification, Job).join(Job, Job.id == Verification.job_id)
    statement = statement.where(Verification.report_id == report_id)
    if before is not None:
        statement = statement.where(Verification.job_id < before)
    return [(one, job) for one, job in session.execute(statement.order_by(Verification.job_id.desc()).limit(limit))]


def note_checks(session: Session, job_id: UUID, checks: Sequence[dict[str, Any]]) -> None:
    """Write what was found of the record; call `hold` first in the same transaction."""
    session.execute(update(Verification).where(Verification.job_id == job_id).values(checks=list(checks)))


def pending_records(session: Session, shard_ids: Sequence[int]) -> Sequence[Item]:
    """Of these shards, the items that stand for a report's record and have no outcome."""
    of_record = (Item.target == RECORD, Item.state == ItemState.PENDING)
    return session.scalars(select(Item).where(Item.shard_id.in_(shard_ids), *of_record).order_by(Item.id)).all()


def reports_of(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, Report]:
    """The reports that these verifications are about, by job."""
    statement = select(Verification.job_id, Report).join(Report, Report.id == Verification.report_id)
    return {row[0]: row[1] for row in session.execute(statement.where(Verification.job_id.in_(job_ids)))}
