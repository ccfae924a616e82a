"""Webhooks without their secrets, and notices as they stand."""

from api.schemas.webhooks import NoticeShown, WebhookShown
from shared.models import Notice, Webhook
from shared.states import NoticeState


def webhook_shown(webhook: Webhook) -> WebhookShown:
    """For whoever lists it."""
    return WebhookShown(
        name=webhook.name,
        url=webhook.url,
        events=webhook.events,
        by=webhook.principal.name,
        created_at=webhook.created_at,
    )


def notice_shown(notice: Notice) -> NoticeShown:
    """With what came of it so far."""
    same = ("id", "event", "state", "last_status", "last_error", "body", "created_at", "finished_at")
    return NoticeShown(
        **{name: getattr(notice, name) for name in same},
        webhook=notice.webhook.name,
        attempts=notice.attempt,
        next_try_at=notice.not_before if notice.state is NoticeState.PENDING else None,
    )
