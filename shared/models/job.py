"""Jobs, their shards and items, and the history of every move."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.models.base import Base, BigInt, RowId, enum_column
from shared.models.registry import ModelVersion
from shared.reasons import Failure, Reason
from shared.states import Explain, ItemState, JobKind, JobState, Lane, ShardState

# As an index and what reads it both say it: of a parameter, a plan made for all values cannot know that it is the same.
IS_FAILED = text("state = 'failed'")
# Of what a move was made for, so much is kept.
MAX_REASON = 128


class Job(Base):
    """What a user asked for; its model version is pinned when it is accepted.

    `label_folded` is its label without capitals, compared byte by byte, so that an index finds what begins so.
    `generation` is that of the predictions it makes: 0, or a higher one where the user forced a new run. `explain` says
    which findings get a heat map.
    """

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_state", "state", "id"),
        Index("ix_job_principal_id", "principal_id", "id"),
        Index("ix_job_label_folded", "label_folded", "id", "state"),
        Index("ix_job_model_version_id", "model_version_id", "id"),
        Index("ix_job_lane", "lane", "id"),
        Index("ix_job_token_id", "token_id", "state"),
        Index("ix_job_retry_of", "retry_of"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[JobKind] = mapped_column(enum_column(JobKind), default=JobKind.INFERENCE)
    state: Mapped[JobState] = mapped_column(enum_column(JobState), default=JobState.QUEUED)
    lane: Mapped[Lane] = mapped_column(enum_column(Lane))
    label: Mapped[str] = mapped_column(String(128), default="")
    label_folded: Mapped[str] = mapped_column(
        String(128).with_variant(String(128, collation="C"), "postgresql"), default="", server_default=text("''")
    )
    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"))
    token_id: Mapped[UUID | None] = mapped_column(ForeignKey("token.id"))
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    retry_of: Mapped[UUID | None] = mapped_column(ForeignKey("job.id"))
    generation: Mapped[int] = mapped_column(default=0)
    explain: Mapped[Explain] = mapped_column(
        enum_column(Explain), default=Explain.POSITIVES, server_default="positives"
    )
    # As it was asked for, kept as evidence: it can be long, and no view needs it.
    request: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    items_total: Mapped[int] = mapped_column(default=0)
    items_done: Mapped[int] = mapped_column(default=0)
    items_failed: Mapped[int] = mapped_column(default=0)
    items_skipped: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    items_cancelled: Mapped[int] = mapped_column(default=0)
    items_reused: Mapped[int] = mapped_column(default=0)
    cancel_requested_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    model_version: Mapped[ModelVersion] = relationship(lazy="joined", innerjoin=True)

    @hybrid_property
    def items_ended(self) -> int:
        """How many items have an outcome."""
        return self.items_done + self.items_failed + self.items_skipped + self.items_cancelled


class Shard(Base):
    """The unit a worker claims: some items of one job.

    `turn` orders a lane: it counts instances, per principal, so that principals take turns. `crash_count` and
    `failure_count` count workers lost and transient failures in a row; progress forgives them.
    `claimed_at` is of the last claim.
    """

    __tablename__ = "shard"
    __table_args__ = (
        Index("ix_shard_claim", "state", "lane", "turn", "id"),
        Index("ix_shard_oldest", "state", "lane", "id"),
        Index("ix_shard_principal_id", "principal_id", "state", "lane", "turn"),
        Index("ix_shard_job_id", "job_id", "state"),
    )

    id: Mapped[RowId]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"))
    state: Mapped[ShardState] = mapped_column(enum_column(ShardState), default=ShardState.QUEUED)
    lane: Mapped[Lane] = mapped_column(enum_column(Lane))
    turn: Mapped[int] = mapped_column(BigInt)
    items_total: Mapped[int]
    attempt: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    crash_count: Mapped[int] = mapped_column(default=0)
    failure_count: Mapped[int] = mapped_column(default=0)
    failure: Mapped[Failure | None] = mapped_column(enum_column(Failure))
    evidence: Mapped[dict[str, Any] | None]
    owner: Mapped[str | None] = mapped_column(String(128))
    claimed_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime]
    created_at: Mapped[datetime]


class Item(Base):
    """One thing in one job: an instance to predict on, or an uploaded file that was rejected.

    `tries` counts the attempts that began on it and have not told its outcome: it is written before the instance is
    decoded, so that what kills a worker is known by name. `fence` is that of the claim under which the outcome came.
    """

    __tablename__ = "item"
    __table_args__ = (
        UniqueConstraint("job_id", "target"),
        Index("ix_item_shard_id", "shard_id", "state"),
        Index("ix_item_job_id", "job_id", "id"),
        Index("ix_item_instance_id", "instance_id", "model_version_id", "id"),
        Index(
            "ix_item_failed",
            "finished_at",
            "reason",
            "job_id",
            sqlite_where=IS_FAILED,
            postgresql_where=IS_FAILED,
        ),
    )

    id: Mapped[RowId]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    target: Mapped[str] = mapped_column(String(80))
    shard_id: Mapped[int | None] = mapped_column(ForeignKey("shard.id"))
    instance_id: Mapped[int | None] = mapped_column(ForeignKey("instance.id"))
    upload_file_id: Mapped[int | None] = mapped_column(ForeignKey("upload_file.id"))
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patient.id"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    state: Mapped[ItemState] = mapped_column(enum_column(ItemState), default=ItemState.PENDING)
    reason: Mapped[Reason | None] = mapped_column(enum_column(Reason))
    detail: Mapped[str] = mapped_column(Text, default="")
    frames: Mapped[int] = mapped_column(default=0)
    reused: Mapped[bool] = mapped_column(Boolean, default=False)
    tries: Mapped[int] = mapped_column(default=0)
    quarantined: Mapped[bool] = mapped_column(Boolean, default=False)
    evidence: Mapped[dict[str, Any] | None]
    fence: Mapped[int | None]
    finished_at: Mapped[datetime | None]


class JobPatient(Base):
    """How many of a patient's items in a job are still open; at zero the scheduler makes the report."""

    __tablename__ = "job_patient"
    __table_args__ = (Index("ix_job_patient_due", "reported_at", "items_open"),)

    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"), primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"), primary_key=True)
    items_open: Mapped[int]
    report_id: Mapped[UUID | None] = mapped_column(ForeignKey("report.id"))
    reported_at: Mapped[datetime | None]


class History(Base):
    """Every move of a job or shard: from, to, why, by whom."""

    __tablename__ = "history"
    __table_args__ = (Index("ix_history_job_id", "job_id", "id"),)

    id: Mapped[RowId]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    shard_id: Mapped[int | None] = mapped_column(BigInt)
    from_state: Mapped[str | None] = mapped_column(String(32))
    to_state: Mapped[str] = mapped_column(String(32))
    reason: Mapped[str] = mapped_column(String(MAX_REASON), default="")
    actor: Mapped[str] = mapped_column(String(128))
    attempt: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    items_open: Mapped[int | None]
    at: Mapped[datetime]
