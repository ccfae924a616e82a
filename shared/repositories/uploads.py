"""Uploads and what became of their files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.identifiers import new_id
from shared.models import Blob, Instance, Upload, UploadFile
from shared.repositories.parts import in_parts
from shared.states import FileOutcome


def create_upload(session: Session, *, principal_id: int, site_id: int, project_id: int, label: str) -> Upload:
    """An upload without files yet."""
    upload = Upload(
        id=new_id(),
        principal_id=principal_id,
        site_id=site_id,
        project_id=project_id,
        label=label,
        created_at=utc_now(),
    )
    session.add(upload)
    session.flush()
    return upload


def instances_by_blob(session: Session, blobs: Sequence[str]) -> dict[str, int]:
    """Instance ids of those blobs that are stored and indexed."""
    found: dict[str, int] = {}
    for some in in_parts(blobs):
        statement = select(Instance.blob_sha256, Instance.id).where(Instance.blob_sha256.in_(some))
        found.update(dict(session.execute(statement).all()))
    return found


def attach_instances(session: Session, upload_id: UUID, instances: Mapping[str, int], names: Mapping[str, str]) -> int:
    """Make stored instances part of an upload as duplicates, once each; returns how many were new to it.

    `names` are what the files are called, by sha256, as far as that is known.
    """
    known: set[int | None] = set()
    for some in in_parts(list(instances.values())):
        statement = select(UploadFile.instance_id).where(UploadFile.upload_id == upload_id)
        known.update(session.scalars(statement.where(UploadFile.instance_id.in_(some))))
    new = [sha256 for sha256, instance_id in instances.items() if instance_id not in known]
    sizes: dict[str, int] = {}
    for digests in in_parts(new):
        sizes.update(session.execute(select(Blob.sha256, Blob.size_bytes).where(Blob.sha256.in_(digests))).all())
    rows = [
        UploadFile(
            upload_id=upload_id,
            name=names.get(sha256, ""),
            outcome=FileOutcome.DUPLICATE,
            sha256=sha256,
            size_bytes=sizes[sha256],
            instance_id=instances[sha256],
        )
        for sha256 in new
    ]
    session.add_all(rows)
    session.flush()
    return len(rows)


def rejected_digests(session: Session, upload_id: UUID) -> set[str]:
    """Digests of the files that this upload refused: sent again, they would be refused again."""
    statement = select(UploadFile.sha256).where(
        UploadFile.upload_id == upload_id, UploadFile.outcome == FileOutcome.REJECTED, UploadFile.sha256.is_not(None)
    )
    return {sha256 for sha256 in session.scalars(statement) if sha256 is not None}


def upload_files(session: Session, upload_id: UUID) -> Sequence[UploadFile]:
    """All files of an upload in the order they came."""
    statement = select(UploadFile).where(UploadFile.upload_id == upload_id).order_by(UploadFile.id)
    return session.scalars(statement).all()


def count_outcomes(session: Session, upload_id: UUID) -> Counter[FileOutcome]:
    """How many files of an upload had which outcome."""
    statement = select(UploadFile.outcome, func.count()).where(UploadFile.upload_id == upload_id)
    return Counter(dict(session.execute(statement.group_by(UploadFile.outcome)).all()))
