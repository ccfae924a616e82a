"""Registered model packages and what they predicted."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.models.base import Base, RowId, Sha256, enum_column
from shared.models.principal import Principal
from shared.states import Explain, MapMethod, ModelState, NoMap, PromotionKind, ProofState

MAX_HARDWARE, MAX_DETAIL, MAX_REASON = 300, 500, 200


class ModelVersion(Base):
    """A model package under a name and number; at most one champion per name."""

    __tablename__ = "model_version"
    __table_args__ = (UniqueConstraint("name", "version"), UniqueConstraint("name", "digest"))

    id: Mapped[RowId]
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int]
    digest: Mapped[Sha256] = mapped_column(index=True)
    state: Mapped[ModelState] = mapped_column(enum_column(ModelState), default=ModelState.CANDIDATE)
    contract: Mapped[dict[str, Any]]
    contract_sha256: Mapped[Sha256] = mapped_column(ForeignKey("blob.sha256"))
    weights_sha256: Mapped[Sha256] = mapped_column(ForeignKey("blob.sha256"))
    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"))
    created_at: Mapped[datetime]


class Promotion(Base):
    """A version began to serve its name; no row is ever changed.

    `before_id` is the row to go back to: of what served before, not counting what was rolled back. Where the gate
    promoted it, `gate_decision_id` says why, and the principal is whose training it was.
    """

    __tablename__ = "promotion"
    __table_args__ = (Index("ix_promotion_model_version_id", "model_version_id"),)

    id: Mapped[RowId]
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    kind: Mapped[PromotionKind] = mapped_column(enum_column(PromotionKind))
    before_id: Mapped[int | None] = mapped_column(ForeignKey("promotion.id"))
    reason: Mapped[str] = mapped_column(String(MAX_REASON), default="")
    gate_decision_id: Mapped[int | None] = mapped_column(ForeignKey("gate_decision.id"))
    principal_id: Mapped[int | None] = mapped_column(ForeignKey("principal.id"))
    created_at: Mapped[datetime]

    model_version: Mapped[ModelVersion] = relationship()
    principal: Mapped[Principal | None] = relationship()


class Prediction(Base):
    """The machine's probabilities for one frame of one blob by one model digest; immutable.

    `batch_size` is what its engine was compiled for, `environment_id` says in which versions and on what machine; rows
    from before these were recorded have none.

    `generation` is 0; a forced re-run adds the next one, which supersedes the earlier. `explained` says which findings
    got a heat map, or a word why not; it alone may grow.
    """

    __tablename__ = "prediction"
    __table_args__ = (
        UniqueConstraint("blob_sha256", "model_digest", "frame", "generation"),
        Index("ix_prediction_model_digest", "model_digest"),
    )

    id: Mapped[RowId]
    blob_sha256: Mapped[Sha256] = mapped_column(ForeignKey("blob.sha256"))
    frame: Mapped[int]
    model_digest: Mapped[Sha256]
    generation: Mapped[int] = mapped_column(default=0)
    probabilities: Mapped[list[Any]]
    engine: Mapped[str] = mapped_column(String(32))
    precision: Mapped[str] = mapped_column(String(16))
    batch_size: Mapped[int | None]
    environment_id: Mapped[int | None] = mapped_column(ForeignKey("environment.id"))
    explained: Mapped[Explain] = mapped_column(enum_column(Explain), default=Explain.NONE, server_default="none")
    created_at: Mapped[datetime]


class HeatMap(Base):
    """Where in its frame the network saw a finding: a map in a blob, or why there is none.

    `finding` and `position` count from 0: the place among the contract's findings, and among the blob's maps.
    """

    __tablename__ = "heat_map"
    __table_args__ = (UniqueConstraint("prediction_id", "finding"), Index("ix_heat_map_blob_sha256", "blob_sha256"))

    id: Mapped[RowId]
    prediction_id: Mapped[int] = mapped_column(ForeignKey("prediction.id"))
    finding: Mapped[int]
    method: Mapped[MapMethod] = mapped_column(enum_column(MapMethod))
    no_map: Mapped[NoMap | None] = mapped_column(enum_column(NoMap))
    blob_sha256: Mapped[Sha256 | None] = mapped_column(ForeignKey("blob.sha256"))
    position: Mapped[int | None]
    rows: Mapped[int | None]
    columns: Mapped[int | None]


class EngineProof(Base):
    """What each engine showed with a model on one kind of hardware: the table from which workers choose.

    `lease_until` and `tries` fence the worker that proves: it is another try when that one was lost.
    """

    __tablename__ = "engine_proof"
    __table_args__ = (UniqueConstraint("model_digest", "hardware_digest"),)

    id: Mapped[RowId]
    model_digest: Mapped[Sha256]
    hardware_digest: Mapped[Sha256]
    hardware: Mapped[str] = mapped_column(String(MAX_HARDWARE))
    state: Mapped[ProofState] = mapped_column(enum_column(ProofState))
    detail: Mapped[str] = mapped_column(String(MAX_DETAIL), default="")
    worker: Mapped[str] = mapped_column(String(128))
    tries: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    num_inputs: Mapped[int] = mapped_column(default=0)
    num_drawn: Mapped[int] = mapped_column(default=0)
    engines: Mapped[list[Any]] = mapped_column(default=list)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
