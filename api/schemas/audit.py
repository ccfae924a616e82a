"""Shapes of the audit trail and its chain."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from api.schemas.base import NO_CONTROL_CHARACTERS, Moment, Page, Shape, Wanted

MOST_LINKS = 200_000
SEAL = r"^[0-9]{1,18}:[0-9a-f]{64}$"


class AuditQuery(Page):
    """Filters of the audit trail."""

    object_kind: str | None = Field(
        None, max_length=32, pattern=NO_CONTROL_CHARACTERS, description="Such as `report` or `job`."
    )
    object_id: str | None = Field(
        None, max_length=64, pattern=NO_CONTROL_CHARACTERS, description="Its id; goes with `object_kind`."
    )
    principal: str | None = Field(None, max_length=64, pattern=NO_CONTROL_CHARACTERS, description="Who, by name.")
    action: str | None = Field(None, max_length=64, pattern=NO_CONTROL_CHARACTERS, description="Such as `report.make`.")
    since: Moment | None = Field(None, description="Only events from then on.")


class AuditEventShown(Shape):
    """Who did what to which object."""

    id: int
    at: datetime
    principal: str | None = Field(description="Null: the system itself.")
    action: str
    object_kind: str
    object_id: str
    detail: dict[str, Any]
    seal: int | None = Field(description="Its place in the chain; null while it is not sealed.")


class AuditEventList(Shape):
    """A page of events, the newest first."""

    items: list[AuditEventShown]
    next: str | None


class ChainQuery(Wanted):
    """From where to look along the chain, and how far."""

    cursor: str | None = Field(
        None,
        pattern=SEAL,
        description="`sequence:digest` of a seal: the previous answer's `next`, or one that was kept elsewhere. "
        "It is looked along from there on, if the chain still goes through that seal.",
    )
    limit: Annotated[int, Field(ge=1, le=MOST_LINKS)] = Field(100_000, description="Most seals of one answer.")


class BreakShown(Shape):
    """Where the chain does not hold, and why."""

    sequence: int
    event_id: int | None
    why: str


class ChainShown(Shape):
    """The chain, as far as one request looks along it."""

    holds: bool = Field(description="Of what was looked at; follow `next` for the rest.")
    broken: BreakShown | None = Field(description="The first place that does not hold.")
    last: str = Field(description="`sequence:digest` of the last seal that holds.")
    head: str = Field(description="The same of the newest seal; kept elsewhere it shows later whether it was replaced.")
    sealed: int
    unsealed: int = Field(description="Events that wait for their seal.")
    oldest_unsealed_s: float | None = Field(description="How long the oldest of them waits.")
    next: str | None = Field(description="The cursor to go on with; null at the end, or where it breaks.")
