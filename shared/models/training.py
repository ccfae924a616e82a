"""Training runs: what a training job was asked for, how far it is, and what came of it."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

from shared.models.base import Base, Sha256
from shared.models.dataset import Dataset
from shared.models.gate import GateDecision
from shared.models.registry import ModelVersion


class TrainingRun(Base):
    """The half of a training job that an inference job has no use for; the job's model version is where it began.

    `dataset_id` is set before the first step and never changes: whoever goes on with the run learns from the same list.
    `checkpoint_sha256` is the last state to go on from, `progress` what is shown of it.
    """

    __tablename__ = "training_run"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"), primary_key=True)
    options: Mapped[dict[str, Any]]
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("dataset.id"))
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    checkpoint_sha256: Mapped[Sha256 | None] = mapped_column(ForeignKey("blob.sha256"))
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))

    # For many runs together, each once: a model's contract can be long.
    dataset: Mapped[Dataset | None] = relationship(lazy="selectin")
    model_version: Mapped[ModelVersion | None] = relationship(lazy="selectin")
    gate_decision: Mapped[GateDecision | None] = relationship(
        primaryjoin=lambda: TrainingRun.job_id == foreign(GateDecision.job_id), lazy="selectin", viewonly=True
    )
