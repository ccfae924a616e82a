"""Shapes of follow-ups and what people do with them."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.schemas.base import NO_CONTROL_CHARACTERS, Moment, Page, Shape, Wanted
from api.schemas.reports import PatientNamed
from shared.states import FollowUpAction, FollowUpState, Urgency

# What is farther away is a slip of the pen.
MOST_YEARS = 100
MOST_POSTPONED = timedelta(days=365 * MOST_YEARS)

Reason = Annotated[str, Field(min_length=1, max_length=1000, pattern=NO_CONTROL_CHARACTERS)]


class FollowUpQuery(Page):
    """Filters of the worklist."""

    state: FollowUpState | None = Field(None, description="Left out: what stands, so neither closed nor withdrawn.")
    patient: str | None = Field(None, max_length=32, description="A patient key.")
    finding: str | None = Field(None, max_length=64)
    due_before: Moment | None = None
    overdue: bool | None = Field(None, description="Whether it should have been done by now.")


class ActWanted(Wanted):
    """Why it is acknowledged or closed."""

    reason: Reason


class PostponeWanted(ActWanted):
    """Until when, and why."""

    until: Moment = Field(description=f"When it is due then; not in the past, and within {MOST_YEARS} years.")


class FollowUpShown(Shape):
    """One thing to do for a patient by a date."""

    id: UUID
    patient: PatientNamed
    model: str
    finding: str
    display: str = Field(description="The finding's name, as the model of the report has it; else its code.")
    action: FollowUpAction
    urgency: Urgency
    text: str
    study_instance_uid: str = Field(description="The study that it is about.")
    state: FollowUpState
    due_at: datetime
    is_overdue: bool
    reason: str = Field(description="Of the last act of a person; empty before.")
    by: str | None = Field(description="Who acted last.")
    report: UUID = Field(description="The newest report version that suggests it, or the one that does so no more.")
    created_at: datetime
    changed_at: datetime
    links: dict[str, str]


class FollowUpList(Shape):
    """A page of the worklist."""

    items: list[FollowUpShown]
    next: str | None


class FollowUpMoveShown(Shape):
    """What became of it at some time, and when it was due then."""

    at: datetime
    before: FollowUpState | None
    after: FollowUpState
    reason: str
    by: str | None = Field(description="Null: a report version.")
    due_at: datetime
    report: UUID


class FollowUpWhole(FollowUpShown):
    """With all that became of it."""

    history: list[FollowUpMoveShown]
