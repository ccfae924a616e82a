"""Report versions: what the predictions of one model version say about one patient."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.models.base import Base, Sha256, enum_column
from shared.models.imaging import Patient
from shared.models.registry import ModelVersion
from shared.states import ReportStatus


class Report(Base):
    """An immutable report version; the same inputs as the newest one's make no new version."""

    __tablename__ = "report"
    __table_args__ = (
        UniqueConstraint("patient_id", "model_version_id", "number"),
        Index("ix_report_model_version_id", "model_version_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    number: Mapped[int]
    inputs_digest: Mapped[Sha256]
    status: Mapped[ReportStatus] = mapped_column(enum_column(ReportStatus))
    document: Mapped[dict[str, Any]]
    supersedes: Mapped[UUID | None] = mapped_column(ForeignKey("report.id"))
    created_at: Mapped[datetime]

    patient: Mapped[Patient] = relationship(lazy="raise")
    model_version: Mapped[ModelVersion] = relationship(lazy="raise")
