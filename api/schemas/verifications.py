"""Shapes of verifications of reports."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from api.schemas.base import InferenceLane, Page, Shape, Wanted
from shared.states import JobState, Lane

MOST_SAMPLED = 1_000_000


class Verdict(StrEnum):
    """What a verification says of a report, all checks together."""

    PENDING = "pending"
    PASSED = "passed"
    DIFFERS = "differs"
    INCOMPLETE = "incomplete"


class VerificationWanted(Wanted):
    """How much of a report is to be computed again."""

    sample: Annotated[int, Field(ge=0, le=MOST_SAMPLED)] | Literal["all"] = Field(
        8, description="Of so many instances, drawn by chance, the predictions are computed again; `all`: of each."
    )
    priority: InferenceLane = Lane.ROUTINE


class CheckShown(Shape):
    """One check of the record, or the computing again."""

    name: str
    passed: bool | None = Field(description="Null: not checked, or not to be checked; `told` says why.")
    checked: int = Field(description="How many rows, blobs or instances were looked at.")
    told: list[str] = Field(description="What differs, by id, digest and number; of many things, the first.")


class VerificationShown(Shape):
    """What a verification found, so far."""

    job: UUID
    report: UUID
    state: JobState
    verdict: Verdict = Field(
        description="pending; passed: nothing differs; differs: something does; incomplete: not all could be checked."
    )
    sample: int | None = Field(description="How many instances were asked for; null: all.")
    checks: list[CheckShown]
    created_at: datetime
    finished_at: datetime | None
    links: dict[str, str]


class VerificationList(Shape):
    """A page of a report's verifications, the newest first."""

    items: list[VerificationShown]
    next: str | None


class VerificationQuery(Page):
    """Where in the list to go on."""
