"""Uploads: files that arrived together, each with an outcome; one can be continued."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, BigInt, RowId, Sha256, enum_column
from shared.reasons import Reason
from shared.states import FileOutcome


class Upload(Base):
    """Files that arrived together, possibly in several requests."""

    __tablename__ = "upload"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"))
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"))
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    label: Mapped[str] = mapped_column(String(128), default="")
    created_at: Mapped[datetime]


class UploadFile(Base):
    """What became of one file of an upload."""

    __tablename__ = "upload_file"
    __table_args__ = (Index("ix_upload_file_upload_id", "upload_id", "id"),)

    id: Mapped[RowId]
    upload_id: Mapped[UUID] = mapped_column(ForeignKey("upload.id"))
    name: Mapped[str] = mapped_column(String(255))
    outcome: Mapped[FileOutcome] = mapped_column(enum_column(FileOutcome))
    reason: Mapped[Reason | None] = mapped_column(enum_column(Reason))
    detail: Mapped[str] = mapped_column(Text, default="")
    sha256: Mapped[Sha256 | None]
    size_bytes: Mapped[int] = mapped_column(BigInt, default=0)
    instance_id: Mapped[int | None] = mapped_column(ForeignKey("instance.id"))
