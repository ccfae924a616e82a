"""What all shapes share."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from shared.states import Lane

MAX_PAGE = 500

# A user's own words; no control characters, which PostgreSQL refuses or terminals obey.
NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f]*$"
Label = Annotated[str, Field(max_length=128, pattern=NO_CONTROL_CHARACTERS)]

# A lane for predictions: training has its own, and nobody chooses it.
InferenceLane = Literal[Lane.URGENT, Lane.ROUTINE, Lane.BACKGROUND]


def _of_words(given: object) -> object:
    """Pydantic also takes a number, as seconds or as milliseconds, whichever it looks like."""
    if isinstance(given, str) and re.fullmatch(r"[-+.\d]+", given.strip()):
        raise ValueError("a number came, a date and time was expected, such as 2026-01-31T22:00:00Z")
    return given


def _in_utc(given: datetime) -> datetime:
    try:
        return given.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time lies outside the years 1 to 9999 in UTC") from error


# A time with its zone, in UTC.
Moment = Annotated[AwareDatetime, BeforeValidator(_of_words), AfterValidator(_in_utc)]

_IN_NAMES = frozenset(" ._@-'")


def _of_a_principal(given: str) -> str:
    """In one Unicode form (NFC), so that what looks the same is the same; what a terminal obeys is no letter."""
    name = unicodedata.normalize("NFC", given)
    are_allowed = all(one in _IN_NAMES or unicodedata.category(one)[0] in "LMN" for one in name)
    if not are_allowed or not name[:1].isalnum() or name != name.strip():
        raise ValueError(
            "expected letters and digits of any script, spaces inside, and . _ @ - ' such as in Dr Jansen; "
            "it begins with a letter or digit"
        )
    return name


# Of a person or program, as it is shown and signed with.
PersonName = Annotated[str, AfterValidator(_of_a_principal), Field(min_length=1, max_length=64)]


class Shape(BaseModel):
    """A response; fields are what the API promises."""

    model_config = ConfigDict(from_attributes=True)


class Wanted(BaseModel):
    """A request; unknown fields are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


class Page(Wanted):
    """Where in a list to go on, and how much of it."""

    cursor: str | None = Field(None, max_length=64, description="From the previous page's `next`.")
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50


class Problem(Shape):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    reason: str | None = None
    errors: list[dict[str, Any]] | None = None
    newer: dict[str, Any] | None = None
