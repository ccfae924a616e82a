"""Reviews: a physician's verdict on a report version, finding by finding."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, RowId, enum_column
from shared.states import Verdict


class Review(Base):
    """A person's word on a report version, which made the next one."""

    __tablename__ = "review"
    __table_args__ = (
        UniqueConstraint("made_report_id"),
        Index("ix_review_report_id", "report_id"),
        Index("ix_review_principal_id", "principal_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    report_id: Mapped[UUID] = mapped_column(ForeignKey("report.id"))
    made_report_id: Mapped[UUID] = mapped_column(ForeignKey("report.id"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"))
    is_signed: Mapped[bool] = mapped_column(Boolean)
    comment: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]


class ReviewVerdict(Base):
    """What a review says of one finding: `value` is what the person holds to be true, none where unsure."""

    __tablename__ = "review_verdict"
    __table_args__ = (UniqueConstraint("review_id", "finding"),)

    id: Mapped[RowId]
    review_id: Mapped[UUID] = mapped_column(ForeignKey("review.id"))
    finding: Mapped[str] = mapped_column(String(64))
    verdict: Mapped[Verdict] = mapped_column(enum_column(Verdict))
    decision: Mapped[bool | None] = mapped_column(Boolean)
    value: Mapped[bool | None] = mapped_column(Boolean)
    note: Mapped[str] = mapped_column(Text, default="")
