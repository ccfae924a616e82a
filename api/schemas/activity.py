"""Shapes of what was done, what waited and what failed lately."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from api.schemas.base import Shape
from shared.reasons import Failure, Reason
from shared.states import Lane

# So many failures are counted, however many there are: the answer takes no longer on the worst of nights.
MOST_COUNTED = 20_000


class LatelyQuery(BaseModel):
    """Of how many hours back."""

    hours: int = Field(24, ge=1, le=24)


class Bucket(Shape):
    """Some minutes, what got an outcome in them, and what waited."""

    at: datetime = Field(description="When they began.")
    items: int
    queued: dict[Lane, int] | None = Field(
        description="Items that waited in each lane in the minute in which most waited of all lanes; null where no "
        "scheduler was there to look."
    )


class Activity(Shape):
    """What was done lately, in equal steps, the oldest first; the last one is not over yet."""

    step_s: int
    looked_at: datetime | None = Field(
        description="The last minute in which a scheduler looked at the queues, which it does in every one; null: "
        "not in these hours."
    )
    items: list[Bucket]


class FailureShown(Shape):
    """A reason for which items failed lately."""

    reason: Reason
    reason_text: str
    failure: Failure | None = Field(description="Its class.")
    items: int
    last_at: datetime = Field(description="When the last of them failed.")
    last_job: UUID = Field(description="The job of that one.")


class FailureList(Shape):
    """The most frequent reason first."""

    items: list[FailureShown]
    counted: int
    is_all: bool = Field(description=f"False: there were more, and only the last {MOST_COUNTED:,} were counted.")
