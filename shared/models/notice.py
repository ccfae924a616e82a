"""Webhooks and the notices to them: at least once, tried again with backoff, then dead letters for a person."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.models.base import Base, RowId, enum_column
from shared.models.principal import Principal
from shared.states import NoticeState

MAX_ERROR = 200

_LIVES = text("disabled_at IS NULL")


class Webhook(Base):
    """Where notices go, of which events; the secret signs them, so it is kept as it is until the webhook is removed."""

    __tablename__ = "webhook"
    __table_args__ = (Index("uq_webhook_name", "name", unique=True, sqlite_where=_LIVES, postgresql_where=_LIVES),)

    id: Mapped[RowId]
    name: Mapped[str] = mapped_column(String(64))
    url: Mapped[str] = mapped_column(String(2000))
    secret: Mapped[str] = mapped_column(String(128))
    events: Mapped[list[Any]]
    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"))
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]

    principal: Mapped[Principal] = relationship(lazy="joined", innerjoin=True)


class Notice(Base):
    """One event for one webhook; its body holds ids and states, never patient data.

    A pending one with a lease is being sent; `fence` counts the claims, so that who lost the lease settles nothing.
    """

    __tablename__ = "notice"
    __table_args__ = (
        UniqueConstraint("webhook_id", "event", "object_id"),
        Index("ix_notice_due", "webhook_id", "state", "not_before"),
        Index("ix_notice_lease", "webhook_id", "lease_until"),
        Index("ix_notice_state", "state", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhook.id"))
    event: Mapped[str] = mapped_column(String(32))
    object_kind: Mapped[str] = mapped_column(String(32))
    object_id: Mapped[str] = mapped_column(String(64))
    body: Mapped[dict[str, Any]]
    state: Mapped[NoticeState] = mapped_column(enum_column(NoticeState), default=NoticeState.PENDING)
    attempt: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime]
    last_status: Mapped[int | None]
    last_error: Mapped[str] = mapped_column(String(MAX_ERROR), default="")
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    webhook: Mapped[Webhook] = relationship(lazy="raise")
