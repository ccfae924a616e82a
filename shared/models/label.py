"""Labels, a person's truth, and what each labelled patient's images are for."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, BigInt, RowId, enum_column
from shared.states import Split, TargetLevel

# The source of labels that come from signed reviews; imports cannot have this name.
REVIEW = "review"

_STANDS = text("superseded_at IS NULL")


class Label(Base):
    """What one source says of one finding of an instance, study or patient; its next word supersedes this one.

    `target_id` is the row of the level's table, `review_id` the signed review that said it, if one did, and
    `model_name` the model whose report that was on, else empty: reviews of two models are two sources. Sources that
    disagree stand beside each other: shared.repositories.labels says which one decides.
    """

    __tablename__ = "label"
    __table_args__ = (
        Index(
            "uq_label_standing",
            "level",
            "target_id",
            "finding",
            "source",
            "model_name",
            unique=True,
            sqlite_where=_STANDS,
            postgresql_where=_STANDS,
        ),
        Index("ix_label_patient_id", "patient_id"),
        Index("ix_label_review_id", "review_id"),
    )

    id: Mapped[RowId]
    level: Mapped[TargetLevel] = mapped_column(enum_column(TargetLevel))
    target_id: Mapped[int] = mapped_column(BigInt)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    finding: Mapped[str] = mapped_column(String(64))
    value: Mapped[bool] = mapped_column(Boolean)
    source: Mapped[str] = mapped_column(String(64))
    who: Mapped[str] = mapped_column(String(128))
    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"))
    review_id: Mapped[UUID | None] = mapped_column(ForeignKey("review.id"))
    model_name: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime]
    superseded_at: Mapped[datetime | None]


class PatientSplit(Base):
    """What a labelled patient's images are for, settled with the patient's first label.

    The holdout is for ever. None: learns, and each dataset snapshot draws whether in train or val. `is_holdout` says it
    again, for the snapshots' rows to refer to.
    """

    __tablename__ = "patient_split"
    __table_args__ = (
        UniqueConstraint("patient_id", "is_holdout"),
        CheckConstraint("(coalesce(split, '') = 'holdout') = is_holdout", name="ck_patient_split_holdout"),
    )

    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"), primary_key=True)
    split: Mapped[Split | None] = mapped_column(enum_column(Split))
    is_holdout: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime]
