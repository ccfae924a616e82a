"""Dataset snapshots: what a training run saw, and whose images were in it."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, ForeignKeyConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, BigInt, RowId, Sha256, enum_column
from shared.states import Split


class Dataset(Base):
    """A frozen list of instances and labels, in a blob whose digest is its name."""

    __tablename__ = "dataset"

    id: Mapped[RowId]
    blob_sha256: Mapped[Sha256] = mapped_column(ForeignKey("blob.sha256"), unique=True)
    model: Mapped[str] = mapped_column(String(64))
    counts: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class DatasetPatient(Base):
    """What a patient's images are for in a snapshot.

    The database itself holds that nothing is learnt from the holdout: `is_holdout` must be the patient's own, which a
    patient keeps for ever, and it decides about the split here.
    """

    __tablename__ = "dataset_patient"
    __table_args__ = (
        ForeignKeyConstraint(
            ["patient_id", "is_holdout"],
            ["patient_split.patient_id", "patient_split.is_holdout"],
            name="fk_dataset_patient_patient_split",
        ),
        CheckConstraint("(split = 'holdout') = is_holdout", name="ck_dataset_patient_holdout"),
    )

    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id"), primary_key=True)
    patient_id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    is_holdout: Mapped[bool] = mapped_column(Boolean)
    split: Mapped[Split] = mapped_column(enum_column(Split))
