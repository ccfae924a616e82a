"""Follow-ups: what a package's rules suggest for a patient, and what people make of it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, Uid, enum_column
from shared.states import FollowUpAction, FollowUpState, Urgency


class FollowUp(Base):
    """One thing to do for a patient by a date; `report_id` is the newest version that suggests it."""

    __tablename__ = "follow_up"
    __table_args__ = (
        Index("ix_follow_up_worklist", "state", "urgency", "due_at", "id"),
        Index("ix_follow_up_patient_id", "patient_id", "model_name", "finding", "action"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    model_name: Mapped[str] = mapped_column(String(64))
    report_id: Mapped[UUID] = mapped_column(ForeignKey("report.id"))
    finding: Mapped[str] = mapped_column(String(64))
    action: Mapped[FollowUpAction] = mapped_column(enum_column(FollowUpAction))
    urgency: Mapped[Urgency] = mapped_column(enum_column(Urgency))
    text: Mapped[str] = mapped_column(String(200), default="")
    study_instance_uid: Mapped[Uid] = mapped_column(default="")
    state: Mapped[FollowUpState] = mapped_column(enum_column(FollowUpState))
    due_at: Mapped[datetime]
    reason: Mapped[str] = mapped_column(Text, default="")
    principal_id: Mapped[int | None] = mapped_column(ForeignKey("principal.id"))
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]
