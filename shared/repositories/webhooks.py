"""Webhooks: added, listed, removed; a removed one gets nothing any more, and its secret is forgotten."""

import secrets
from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.events import Event
from shared.models import Notice, Webhook
from shared.states import NoticeState

REMOVED = "the webhook was removed"


def new_secret() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def add_webhook(
    session: Session, name: str, *, url: str, events: Sequence[Event], secret: str, principal_id: int
) -> Webhook:
    """A new one; it hears of what happens from now on."""
    webhook = Webhook(
        name=name,
        url=url,
        events=[event.value for event in events],
        secret=secret,
        principal_id=principal_id,
        created_at=db_now(),
    )
    session.add(webhook)
    session.flush()
    session.refresh(webhook)
    return webhook


def webhook_named(session: Session, name: str, *, lock: bool = False) -> Webhook | None:
    """The webhook of this name that was not removed; locked, it changes only here until the transaction ends."""
    statement = select(Webhook).where(Webhook.name == name, Webhook.disabled_at.is_(None))
    return session.scalar(statement.with_for_update(of=Webhook) if lock else statement)


def list_webhooks(session: Session) -> Sequence[Webhook]:
    """All that were not removed, by name."""
    return session.scalars(select(Webhook).where(Webhook.disabled_at.is_(None)).order_by(Webhook.name)).all()


def remove_webhook(session: Session, webhook: Webhook) -> None:
    """End it for good, locked before: what it was not told yet is given up, also what is on its way."""
    webhook.disabled_at, webhook.secret = db_now(), ""
    session.flush()
    given_up = {"state": NoticeState.DEAD, "last_error": REMOVED, "finished_at": db_now(), "lease_until": None}
    pending = update(Notice).where(Notice.webhook_id == webhook.id, Notice.state == NoticeState.PENDING)
    statement = pending.values(fence=Notice.fence + 1, **given_up)
    session.execute(statement.execution_options(synchronize_session=False))
