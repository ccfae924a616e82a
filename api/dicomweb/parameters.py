"""Query parameters of rendered pictures (PS3.18, 8.3.5.1), read and bounded."""

import math
from typing import NoReturn

from pydantic import BaseModel, Field

from api.dicomweb.rendering import MAX_SIDE, Region, Viewport
from api.schemas.base import Wanted
from shared.dicom.display import SHAPES, Window
from shared.errors import InvalidRequestError

MAX_PARAMETER = 200  # characters
MAX_LISTED = 1000
WINDOW_EXPECTED = (
    "expected center,width,shape: two numbers and one of LINEAR, LINEAR_EXACT and SIGMOID, the width at least 1 of "
    "LINEAR and above 0 of the others"
)
VIEWPORT_EXPECTED = (
    f"expected vw,vh or vw,vh,sx,sy,sw,sh: whole numbers from 1 to {MAX_SIDE}, and a region of at least a pixel, "
    "inside the frame"
)


class RenderedQuery(BaseModel):
    """How a frame is shown; other parameters of the standard are ignored, as it allows."""

    window: str | None = Field(None, max_length=MAX_PARAMETER, description="center,width,shape of grey frames.")
    viewport: str | None = Field(None, max_length=MAX_PARAMETER, description="vw,vh, and perhaps ,sx,sy,sw,sh.")


class InstancesQuery(Wanted):
    """Which of a series' instances, and which part of their list."""

    sop_instance_uid: str | None = Field(None, alias="SOPInstanceUID", max_length=64)
    limit: int = Field(MAX_LISTED, ge=1, le=MAX_LISTED)
    offset: int = Field(0, ge=0, le=2**31)


def window_of(given: str | None) -> Window | None:
    """The window that was asked for; raises InvalidRequestError."""
    if given is None:
        return None
    parts = given.split(",")
    if len(parts) != len(Window._fields):
        _refuse("window", given, WINDOW_EXPECTED)
    center, width = (_number(one) for one in parts[:2])
    # The standard writes the shapes as VOI LUT functions are written in files, and has written them linear-exact.
    shape = parts[2].upper().replace("-", "_")
    is_wide = width >= 1 if shape == "LINEAR" else width > 0
    if shape not in SHAPES or not is_wide or not math.isfinite(center):
        _refuse("window", given, WINDOW_EXPECTED)
    return Window(center, width, shape)


def viewport_of(given: str | None, rows: int, columns: int) -> Viewport | None:
    """The viewport that was asked for, of a frame of this size; raises InvalidRequestError."""
    if given is None:
        return None
    parts = given.split(",")
    sides, region = parts[:2], [*parts[2:], "", "", "", ""][: len(Region._fields)]
    if not 2 <= len(parts) <= 2 + len(region) or not all(map(_is_side, sides)):  # noqa: PLR2004 - the sides
        _refuse("viewport", given, VIEWPORT_EXPECTED)
    # A part that is left out is as it would be without a region.
    left, top = (_number(one) if one else 0.0 for one in region[:2])
    across = _number(region[2]) if region[2] else columns - left
    down = _number(region[3]) if region[3] else rows - top
    if not (left >= 0 and top >= 0 and 1 <= across <= columns - left and 1 <= down <= rows - top):
        _refuse("viewport", given, f"{VIEWPORT_EXPECTED}, which has {columns} columns and {rows} rows")
    width, height = map(int, sides)
    return Viewport(width, height, Region(left, top, across, down) if any(region) else None)


def _is_side(given: str) -> bool:
    return given.isascii() and given.isdigit() and 1 <= int(given) <= MAX_SIDE


def _number(given: str) -> float:
    """NaN where it is none, which no comparison lets through."""
    try:
        found = float(given)
    except ValueError:
        return math.nan
    return found if math.isfinite(found) else math.nan


def _refuse(name: str, given: str, expected: str) -> NoReturn:
    detail = f"{given!r} came, {expected}"
    errors = [{"pointer": f"/{name}", "detail": detail, "location": "query"}]
    raise InvalidRequestError(f"{name}: {detail}.", errors=errors)
