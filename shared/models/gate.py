"""What came of comparing a trained version with the champion."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.models.base import Base, RowId, enum_column
from shared.models.dataset import Dataset
from shared.models.registry import ModelVersion
from shared.states import GateOutcome


class GateDecision(Base):
    """One for each training run that ended with a version; no row is ever changed.

    `reasons` say why it was held, `is_measured` whether the holdout was used for it. `record` has the policy, all that
    was measured, and what it takes to measure it again: that can be much, and is only read where it is asked for.
    """

    __tablename__ = "gate_decision"
    __table_args__ = (Index("ix_gate_decision_model_version_id", "model_version_id"),)

    id: Mapped[RowId]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"), unique=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    champion_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id"))
    outcome: Mapped[GateOutcome] = mapped_column(enum_column(GateOutcome))
    reasons: Mapped[list[Any]]
    is_measured: Mapped[bool] = mapped_column(Boolean)
    record: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    created_at: Mapped[datetime]

    model_version: Mapped[ModelVersion] = relationship(foreign_keys=model_version_id)
    champion: Mapped[ModelVersion] = relationship(foreign_keys=champion_id)
    dataset: Mapped[Dataset] = relationship()
