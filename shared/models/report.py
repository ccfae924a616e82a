"""Report versions: what one model version says about one patient, and what people made of it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.models.base import Base, RowId, Sha256, enum_column
from shared.models.imaging import Patient
from shared.models.registry import ModelVersion
from shared.states import RenditionFormat, ReportOrigin, ReportStatus


class Report(Base):
    """An immutable report version; the versions about a patient by all versions of a model are one chain.

    The same inputs as the newest one's make no new version. `signs` is the version that a final one was signed on,
    `content_digest` that of the document (shared.reports.digest).
    """

    __tablename__ = "report"
    __table_args__ = (
        UniqueConstraint("patient_id", "model_name", "number"),
        Index("ix_report_model_version_id", "model_version_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    model_name: Mapped[str] = mapped_column(String(64))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    number: Mapped[int]
    origin: Mapped[ReportOrigin] = mapped_column(enum_column(ReportOrigin))
    status: Mapped[ReportStatus] = mapped_column(enum_column(ReportStatus))
    inputs_digest: Mapped[Sha256]
    document: Mapped[dict[str, Any]]
    content_digest: Mapped[Sha256]
    supersedes: Mapped[UUID | None] = mapped_column(ForeignKey("report.id"))
    signs: Mapped[UUID | None] = mapped_column(ForeignKey("report.id"))
    principal_id: Mapped[int | None] = mapped_column(ForeignKey("principal.id"))
    created_at: Mapped[datetime]

    patient: Mapped[Patient] = relationship(lazy="raise")
    model_version: Mapped[ModelVersion] = relationship(lazy="raise")


class ReportRendition(Base):
    """A document made of a report version; those of a signed one were made with the signature and never change.

    `source_digest` is that of all it was made of: a heat map that came later makes another one of an unsigned version.
    """

    __tablename__ = "report_rendition"
    __table_args__ = (UniqueConstraint("report_id", "format", "language", "source_digest"),)

    id: Mapped[RowId]
    report_id: Mapped[UUID] = mapped_column(ForeignKey("report.id"))
    format: Mapped[RenditionFormat] = mapped_column(enum_column(RenditionFormat))
    language: Mapped[str] = mapped_column(String(16))
    source_digest: Mapped[Sha256]
    blob_sha256: Mapped[Sha256] = mapped_column(ForeignKey("blob.sha256"))
    created_at: Mapped[datetime]
