"""What all shapes share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MAX_PAGE = 500

# A user's own words; no control characters, which PostgreSQL refuses or terminals obey.
NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f]*$"
Label = Annotated[str, Field(max_length=128, pattern=NO_CONTROL_CHARACTERS)]


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
