"""Follow-ups: what a package's rules suggest for a patient, and what people make of it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.models.base import Base, RowId, Uid, enum_column
from shared.models.imaging import Patient
from shared.models.principal import Principal
from shared.models.report import Report
from shared.states import FollowUpAction, FollowUpState, Urgency

# Word for word as a query writes it (shared.repositories.worklist), or SQLite does not use the index.
_STANDS = text("state IN ('acknowledged', 'open', 'postponed')")


class FollowUp(Base):
    """One thing to do for a patient by a date; `report_id` is the newest version that suggests it.

    `study_instance_uid` is the study that it is about: of those the result speaks of, the one of the highest
    probability. `reason` and `principal_id` are those of the last act of a person.
    """

    __tablename__ = "follow_up"
    __table_args__ = (
        Index("ix_follow_up_worklist", "urgency", "due_at", "id", sqlite_where=_STANDS, postgresql_where=_STANDS),
        Index("ix_follow_up_state", "state", "urgency", "due_at", "id"),
        Index("ix_follow_up_patient_id", "patient_id", "model_name", "finding", "action"),
        Index(
            "uq_follow_up_standing",
            *("patient_id", "model_name", "finding", "action"),
            unique=True,
            sqlite_where=_STANDS,
            postgresql_where=_STANDS,
        ),
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

    patient: Mapped[Patient] = relationship(lazy="raise")
    report: Mapped[Report] = relationship(lazy="raise")
    principal: Mapped[Principal | None] = relationship(lazy="raise")


class FollowUpMove(Base):
    """Every move of a follow-up: from, to, why, by whom (none: a report version, `report_id`), and when it is due then.

    A person's reason may be about the patient, so it stands here and in no audit event.
    """

    __tablename__ = "follow_up_move"
    __table_args__ = (Index("ix_follow_up_move_follow_up_id", "follow_up_id", "id"),)

    id: Mapped[RowId]
    follow_up_id: Mapped[UUID] = mapped_column(ForeignKey("follow_up.id"))
    from_state: Mapped[FollowUpState | None] = mapped_column(enum_column(FollowUpState))
    to_state: Mapped[FollowUpState] = mapped_column(enum_column(FollowUpState))
    reason: Mapped[str] = mapped_column(Text, default="")
    due_at: Mapped[datetime]
    report_id: Mapped[UUID] = mapped_column(ForeignKey("report.id"))
    principal_id: Mapped[int | None] = mapped_column(ForeignKey("principal.id"))
    at: Mapped[datetime]

    # Without it SQLAlchemy would not know that an item's row is written before its moves.
    follow_up: Mapped[FollowUp] = relationship(lazy="raise")
    principal: Mapped[Principal | None] = relationship(lazy="raise")
