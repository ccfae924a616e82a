"""Notices on their way: claimed by a sender with a lease and a fence, a webhook's some at a time, and settled once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from shared.db import database_time, db_now
from shared.models import Notice, Webhook
from shared.models.notice import MAX_ERROR
from shared.repositories.history import changed_rows
from shared.states import NoticeState


@dataclass(frozen=True)
class ClaimedNotice:
    """A notice that this sender holds; `fence` goes with what it writes of it, `attempt` counts this try."""

    id: UUID
    fence: int
    attempt: int
    event: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """Notices for one receiver, in the order in which they are due."""

    url: str
    secret: str
    notices: Sequence[ClaimedNotice]


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return Notice.state == NoticeState.PENDING, Notice.not_before <= now


def _is_waiting(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Something is due for the webhook, and nobody sends to it.

    Of each the first by its index, and the time as a value: else PostgreSQL reads all that wait, however many.
    """
    due = select(Notice.id).where(Notice.webhook_id == Webhook.id, *_is_due(now)).order_by(Notice.not_before)
    held = select(Notice.id).where(Notice.webhook_id == Webhook.id, Notice.lease_until > now)
    return (
        Webhook.disabled_at.is_(None),
        due.limit(1).correlate(Webhook).scalar_subquery().is_not(None),
        held.order_by(Notice.lease_until).limit(1).correlate(Webhook).scalar_subquery().is_(None),
    )


def webhooks_to_serve(session: Session) -> Sequence[int]:
    """Those for which notices are due, and to which nobody sends right now."""
    waiting = select(Webhook.id).where(*_is_waiting(database_time(session)))
    return session.scalars(waiting.order_by(Webhook.id)).all()


def claim_delivery(session: Session, webhook_id: int, lease_s: float, most: int) -> Delivery | None:
    """Take the notices of a webhook that are due (they stay pending, under a lease); None where there are none.

    The webhook is locked meanwhile, so that one sender at a time has any of it. FOR NO KEY UPDATE: notices that others
    add refer to it and must not wait.
    """
    now = database_time(session)
    lock = select(Webhook).where(Webhook.id == webhook_id, *_is_waiting(now))
    webhook = session.scalar(lock.with_for_update(of=Webhook, key_share=True, skip_locked=True))
    # Asked again now that it is ours: another sender may have let it go between this statement's look and its lock.
    held = select(Notice.id).where(Notice.webhook_id == webhook_id, Notice.lease_until > now).limit(1)
    if webhook is None or session.scalar(held):
        return None
    due = select(Notice.id).where(Notice.webhook_id == webhook_id, *_is_due(now)).order_by(Notice.not_before, Notice.id)
    take = (
        update(Notice)
        .where(Notice.id.in_(session.scalars(due.limit(most)).all()), Notice.state == NoticeState.PENDING)
        .values(attempt=Notice.attempt + 1, fence=Notice.fence + 1, lease_until=db_now(lease_s))
        .returning(Notice.id, Notice.fence, Notice.attempt, Notice.event, Notice.body)
        .execution_options(synchronize_session=False)
    )
    taken = [ClaimedNotice(*row) for row in session.execute(take)]
    # UUIDs of version 7: the order in which they were made.
    return Delivery(webhook.url, webhook.secret, sorted(taken, key=lambda one: one.id)) if taken else None


def settle_sent(session: Session, notice: ClaimedNotice, status: int) -> bool:
    """Move pending -> sent under the fence; False where it is not ours any more."""
    return _settle(session, notice, state=NoticeState.SENT, finished_at=db_now(), last_status=status, last_error="")


def settle_dead(session: Session, notice: ClaimedNotice, status: int | None, error: str) -> bool:
    """Move pending -> dead under the fence: given up."""
    told = {"last_status": status, "last_error": error[:MAX_ERROR]}
    return _settle(session, notice, state=NoticeState.DEAD, finished_at=db_now(), **told)


def put_off(session: Session, notice: ClaimedNotice, status: int | None, error: str, delay_s: float) -> bool:
    """It stays pending, to be tried again after so long."""
    told = {"last_status": status, "last_error": error[:MAX_ERROR]}
    return _settle(session, notice, not_before=db_now(delay_s), **told)


def give_back(session: Session, notice: ClaimedNotice) -> bool:
    """It was not tried: it stays pending, and the attempt is none."""
    return _settle(session, notice, attempt=Notice.attempt - 1)


def _settle(session: Session, notice: ClaimedNotice, **values: Any) -> bool:
    statement = update(Notice).where(*_is_ours(notice)).values(lease_until=None, **values)
    return changed_rows(session.execute(statement.execution_options(synchronize_session=False))) > 0


def _is_ours(notice: ClaimedNotice) -> tuple[ColumnElement[bool], ...]:
    return Notice.id == notice.id, Notice.fence == notice.fence, Notice.state == NoticeState.PENDING
