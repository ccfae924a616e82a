"""Frames as pictures for people (PS3.18, 8.7.4), made in a limited child process; pixels only, no text of DICOM.

Imported by the children too: nothing of Flask.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shared.dicom.display import GREY_AXES, SHAPES, Window, display_values
from shared.dicom.parse import ReadLimits, parse
from shared.dicom.pixels import Frame, iter_frames, modality_values
from shared.dicom.values import text
from shared.errors import NotFoundError

if TYPE_CHECKING:
    from PIL import Image

JPEG, PNG = "image/jpeg", "image/png"
FORMATS = {JPEG: "JPEG", PNG: "PNG"}
JPEG_QUALITY = 92
MAX_SIDE = 4096
THUMBNAIL_SIDE = 128
# A picture never changes but by a later version that draws otherwise, which has this in its tags.
DRAWING = "1"
# A thumbnail stands in lists, before eyes that did not ask for this patient, and must name nobody (PS3.18, 10.4.3.3.4).
# No picture is honest: a grey one in its place would look like an image in which there is nothing to see. A file that
# does not say what is burnt into it is taken at its word; at this size such words are seldom legible.
BURNT_IN = "The file says that text is burnt into its pixels, which may name the patient; it has no thumbnail."
# A person who drags the window asks for the same frame again and again: a child keeps its last one, if it is small.
MAX_KEPT_BYTES = 64 * 1024 * 1024
_kept: dict[tuple[str, int], Frame] = {}


class Region(NamedTuple):
    """A part of a frame, in pixels."""

    left: float
    top: float
    columns: float
    rows: float


class Viewport(NamedTuple):
    """Into what a frame, or a region of it, is scaled, keeping its shape."""

    columns: int
    rows: int
    region: Region | None = None


@dataclass(frozen=True)
class Wanted:
    """A picture of a frame, counted from 1, of a stored file, whose path ends in its digest."""

    path: str
    frame: int
    media_type: str
    window: Window | None = None
    viewport: Viewport | None = None
    is_thumbnail: bool = False

    @property
    def sha256(self) -> str:
        """Of the file."""
        return Path(self.path).name

    @property
    def tag(self) -> str:
        """The same for the same bytes and parameters, wherever the bytes lie."""
        named = replace(self, path=self.sha256)
        return hashlib.sha256(f"{DRAWING} {named}".encode()).hexdigest()[:32]

    def document(self) -> dict[str, Any]:
        """As JSON takes it."""
        return dict(vars(self))


def wanted_of(document: dict[str, Any]) -> Wanted:
    """What `document()` gave, after its way through JSON."""
    window, viewport = document["window"], document["viewport"]
    if viewport:
        columns, rows, region = viewport
        viewport = Viewport(columns, rows, Region(*region) if region else None)
    return Wanted(**document | {"window": Window(*window) if window else None, "viewport": viewport})


def render_in_child(request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Sandbox target: {"limits", "wanted"} -> one reply: the window it is shown in, null of colour; and the picture."""
    wanted, limits = wanted_of(request["wanted"]), ReadLimits(**request["limits"])
    if wanted.is_thumbnail and _has_burnt_in_text(Path(wanted.path), limits):
        raise NotFoundError(BURNT_IN)
    frame = _frame(wanted, limits)
    window = (wanted.window or _own_window(frame)) if frame.values.ndim == GREY_AXES else None
    yield {"window": window}, _encoded(_picture(frame, wanted), wanted.media_type)


def _has_burnt_in_text(path: Path, limits: ReadLimits) -> bool:
    dataset, _ = parse(path, limits, with_pixels=False)
    return text(dataset, "BurnedInAnnotation").upper() == "YES"


def _frame(wanted: Wanted, limits: ReadLimits) -> Frame:
    key = wanted.path, wanted.frame
    if key not in _kept:
        _kept.clear()
        (frame,) = iter_frames(Path(wanted.path), limits, [wanted.frame])
        if frame.values.nbytes > MAX_KEPT_BYTES:
            return frame
        # A copy, for it may be a view of all of the file's frames.
        _kept[key] = replace(frame, values=frame.values.copy())
    return _kept[key]


def _own_window(frame: Frame) -> Window:
    """Where a person who drags begins in a grey frame: its window, or what comes closest to how it is shown."""
    if lookup := frame.voi_lut:
        return Window(lookup.first_mapped + len(lookup.table) / 2, len(lookup.table))
    if frame.window_center is not None and frame.window_width is not None:
        shape = frame.voi_lut_function if frame.voi_lut_function in SHAPES else "LINEAR"
        is_exact = shape == "LINEAR" and frame.window_width < 1  # as it is shown, for such a LINEAR means nothing
        return Window(frame.window_center, frame.window_width, "LINEAR_EXACT" if is_exact else shape)
    values = modality_values(frame)
    low, high = float(values.min()), float(values.max())
    return Window((low + high) / 2, (high - low) or 1.0, "LINEAR_EXACT")


def _picture(frame: Frame, wanted: Wanted) -> "Image.Image":
    """What the frame's window shows, then the region, then the viewport (PS3.18, 8.3.5)."""
    from PIL import Image

    image = Image.fromarray(np.rint(display_values(frame, wanted.window) * 255.0).astype(np.uint8))
    # A picture that names no viewport is as large as the frame, up to what anybody may ask for.
    viewport = wanted.viewport or Viewport(min(image.width, MAX_SIDE), min(image.height, MAX_SIDE))
    left, top, columns, rows = viewport.region or Region(0, 0, *image.size)
    scale = min(viewport.columns / columns, viewport.rows / rows)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    return image.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + columns, top + rows))


def _encoded(picture: "Image.Image", media_type: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, FORMATS[media_type], quality=JPEG_QUALITY)
    return buffer.getvalue()
