"""What keeps the service honest: worker heartbeats, lanes' brakes, counters, idempotency keys, audit events."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, BigInt, RowId, Sha256, enum_column
from shared.states import Lane


class WorkerProcess(Base):
    """A worker that beats; a beat too old means it is gone."""

    __tablename__ = "worker_process"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    lanes: Mapped[list[Any]]
    concurrency: Mapped[int]
    engines: Mapped[list[Any]]
    loading: Mapped[list[Any]] = mapped_column(default=list)
    rss_bytes: Mapped[int] = mapped_column(BigInt)
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    stopped_at: Mapped[datetime | None]


class LaneBrake(Base):
    """A lane that an operator paused; no row: it runs."""

    __tablename__ = "lane_brake"

    lane: Mapped[Lane] = mapped_column(enum_column(Lane), primary_key=True)
    reason: Mapped[str] = mapped_column(String(200))
    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"))
    paused_at: Mapped[datetime]


class Tally(Base):
    """One addition to a counter, written in the transaction of the move it counts; a counter is the sum of its rows.

    Rows are only inserted, so that moves do not wait for each other; a duty folds them.
    """

    __tablename__ = "tally"
    __table_args__ = (Index("ix_tally_name", "name"),)

    id: Mapped[RowId]
    name: Mapped[str] = mapped_column(String(64))
    value: Mapped[int] = mapped_column(BigInt)


class Pace(Base):
    """Instances of a lane that got an outcome, by the few seconds in which they did."""

    __tablename__ = "pace"
    __table_args__ = (Index("ix_pace_lane", "lane", "at"),)

    id: Mapped[RowId]
    lane: Mapped[Lane] = mapped_column(enum_column(Lane))
    at: Mapped[datetime]
    items: Mapped[int]


class Depth(Base):
    """How many items waited in each lane, by the minute in which a scheduler looked; no row: none looked."""

    __tablename__ = "depth"

    at: Mapped[datetime] = mapped_column(primary_key=True)
    queued: Mapped[dict[str, Any]]


class IdempotencyKey(Base):
    """The stored answer to a request that named an Idempotency-Key; no status yet: it is being made."""

    __tablename__ = "idempotency_key"

    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[Sha256]
    reservation: Mapped[UUID]
    status: Mapped[int | None]
    location: Mapped[str | None] = mapped_column(String(255))
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class AuditEvent(Base):
    """Who did what to which object; written in the transaction of the act."""

    __tablename__ = "audit_event"
    __table_args__ = (
        # Each filter in the order of the list, so that "since" ends the look along it.
        Index("ix_audit_event_object", "object_kind", "object_id", "at", "id"),
        Index("ix_audit_event_at", "at", "id"),
        Index("ix_audit_event_action", "action", "at", "id"),
        Index("ix_audit_event_principal_id", "principal_id", "at", "id"),
        Index("ix_audit_event_object_kind", "object_kind", "at", "id"),
    )

    id: Mapped[RowId]
    at: Mapped[datetime]
    principal_id: Mapped[int | None] = mapped_column(ForeignKey("principal.id"))
    action: Mapped[str] = mapped_column(String(64))
    object_kind: Mapped[str] = mapped_column(String(32))
    object_id: Mapped[str] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]]


class AuditSeal(Base):
    """An audit event's place in the chain: its digest covers the event and the seal before it (shared.audit_chain)."""

    __tablename__ = "audit_seal"

    sequence: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    event_id: Mapped[int] = mapped_column(ForeignKey("audit_event.id"), unique=True)
    digest: Mapped[Sha256]
