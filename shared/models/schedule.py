"""Schedules, and what became of every moment at which one was due."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.models.base import Base, RowId, enum_column
from shared.models.principal import Principal
from shared.states import JobKind, Overlap, RunOrigin, RunState

MAX_REASON = 300

_LIVES = text("removed_at IS NULL")


class Schedule(Base):
    """What is asked for again and again; `request` is what a person would send as a job.

    `fires_at` is the next moment that the expression names, `due_at` the same with its jitter.
    """

    __tablename__ = "schedule"
    __table_args__ = (
        Index("uq_schedule_name", "name", unique=True, sqlite_where=_LIVES, postgresql_where=_LIVES),
        Index("ix_schedule_due_at", "due_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    kind: Mapped[JobKind] = mapped_column(enum_column(JobKind))
    cron: Mapped[str] = mapped_column(String(200))
    time_zone: Mapped[str] = mapped_column(String(64))
    overlap: Mapped[Overlap] = mapped_column(enum_column(Overlap))
    catch_up_s: Mapped[int]
    jitter_s: Mapped[int]
    min_new: Mapped[int]
    request: Mapped[dict[str, Any]]
    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"))
    fires_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    pause_reason: Mapped[str] = mapped_column(String(MAX_REASON), default="")
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]

    principal: Mapped[Principal] = relationship(lazy="joined", innerjoin=True)


class ScheduleRun(Base):
    """One moment at which a schedule was due, or a person triggered it: what came of it, and why."""

    __tablename__ = "schedule_run"
    __table_args__ = (
        UniqueConstraint("schedule_id", "fires_at", "origin"),
        Index("ix_schedule_run_schedule_id", "schedule_id", "id"),
        Index("ix_schedule_run_state", "state"),
    )

    id: Mapped[RowId]
    schedule_id: Mapped[UUID] = mapped_column(ForeignKey("schedule.id"))
    fires_at: Mapped[datetime]
    origin: Mapped[RunOrigin] = mapped_column(enum_column(RunOrigin))
    state: Mapped[RunState] = mapped_column(enum_column(RunState))
    reason: Mapped[str] = mapped_column(String(MAX_REASON), default="")
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("job.id"))
    decided_at: Mapped[datetime]
