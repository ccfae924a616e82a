"""Shapes of webhooks and the notices to them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from api.schemas.base import Page, Shape, Wanted
from api.schemas.schedules import Name
from shared.events import EVENTS, Event
from shared.states import NoticeState

Secret = Annotated[str, Field(min_length=32, max_length=128, pattern=r"^[ -~]+$")]
# What a webhook can be for; a test is sent when it is asked for.
Wished = Literal[Event.JOB_ENDED, Event.REPORT_MADE, Event.REPORT_SIGNED, Event.REPORT_AMENDED, Event.REPORT_RETRACTED]


class WebhookWanted(Wanted):
    """Where notices are to go, and of what."""

    name: Name
    url: str = Field(max_length=2000, description="On the list that the operator set, OVERREAD_WEBHOOK_TARGETS.")
    events: list[Wished] = Field(list(EVENTS), min_length=1, max_length=len(EVENTS), description="Left out: all.")
    secret: Secret | None = Field(None, description="With it notices are signed; left out: one is made.")


class WebhookShown(Shape):
    """A webhook, without its secret."""

    name: str
    url: str
    events: list[Event]
    by: str = Field(description="Who added it.")
    created_at: datetime


class WebhookMade(WebhookShown):
    """The secret is shown this once."""

    secret: str


class WebhookList(Shape):
    """All webhooks, by name."""

    items: list[WebhookShown]


class NoticeQuery(Page):
    """Filters of the notices."""

    state: NoticeState | None = None
    webhook: str | None = Field(None, max_length=64)
    event: Event | None = None


class NoticeShown(Shape):
    """One event for one webhook."""

    id: UUID = Field(description="What the receiver knows it by: Overread-Delivery.")
    webhook: str
    event: Event
    state: NoticeState
    attempts: int = Field(description="How often it was tried, a try that is being made included.")
    last_status: int | None = Field(description="The HTTP status of the last answer; null where there was none.")
    last_error: str
    next_try_at: datetime | None = Field(description="Null once it was sent or given up.")
    body: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None


class NoticeList(Shape):
    """A page of notices, the newest first."""

    items: list[NoticeShown]
    next: str | None


class Resent(Shape):
    """How many dead letters are sent again."""

    resent: int
