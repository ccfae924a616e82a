"""Verifications: which report a job of that kind is about, and what it found of the report's record."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base


class Verification(Base):
    """The half of a verification job that others have no use for; its items are the instances that it computes again.

    `sample` is how many of the report's instances these are at most (none: all), `checks` what was found of the record;
    none until its worker came to it.
    """

    __tablename__ = "verification"
    __table_args__ = (Index("ix_verification_report_id", "report_id", "job_id"),)

    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"), primary_key=True)
    report_id: Mapped[UUID] = mapped_column(ForeignKey("report.id"))
    sample: Mapped[int | None]
    checks: Mapped[list[Any] | None]
