"""Pictures of heat maps: the map blended over its frame, made in a limited child process; no text of DICOM.

What stands burnt into the pixels of a frame stands in its picture too.
"""

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from api.picture_pool import PicturePool, no_picture
from shared.config import MIB, Settings
from shared.dicom.display import display_values
from shared.dicom.parse import ReadLimits
from shared.dicom.pixels import Frame, iter_frames
from shared.heat_map_file import read_map

if TYPE_CHECKING:
    from PIL import Image

TARGET = "api.pictures:blend_in_child"
WORDS = "AI, not for diagnostic use"
STRIP = 18  # pixels below the picture, for the words
MIN_COLUMNS = 136  # of a picture, for the words; what is narrower stands on the left
MAX_PICTURE_BYTES = 4 * MIB
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The colours' key, which only wider pictures have room for.
KEY_COLUMNS, KEY_SIDE = 320, 64
NO_COLOUR = "no part speaks for it"
WHITE = (255, 255, 255)
# At its strongest the map hides so much of the frame; from dark red to yellow.
OPACITY = 0.55
WEAK, STRONG = np.array([180.0, 0.0, 0.0]), np.array([255.0, 230.0, 60.0])


@dataclass(frozen=True)
class Wanted:
    """A frame, counted from 1, of a stored file, a map, counted from 0, and how the one lay before the network.

    `resize` and `input_shape` (rows, columns) are those of the contract; `side` is the picture's longer one in pixels.
    """

    path: str
    frame: int
    map_path: str
    position: int
    resize: str
    input_shape: tuple[int, int]
    side: int = 512


@dataclass(frozen=True)
class Pixels:
    """A picture as it is: 8 bit each of red, green, blue, row by row."""

    rows: int
    columns: int
    rgb: bytes


def blend_in_child(request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Sandbox target: {"limits", "raw", and the fields of Wanted} -> one reply: its size, and a PNG, or raw pixels."""
    wanted = Wanted(**{name: request[name] for name in Wanted.__dataclass_fields__})
    heat = read_map(Path(wanted.map_path), wanted.position).astype(np.float32)
    for frame in iter_frames(Path(wanted.path), ReadLimits(**request["limits"]), [wanted.frame]):
        picture = _picture(frame, heat, wanted)
        size = {"rows": picture.height, "columns": picture.width}
        yield size, picture.tobytes() if request["raw"] else _png(picture)


def _picture(frame: Frame, heat: NDArray[np.float32], wanted: Wanted) -> "Image.Image":
    from PIL import Image, ImageDraw

    shown = display_values(frame)
    rows, columns = shown.shape[:2]
    scale = wanted.side / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    image = Image.fromarray(np.rint(shown * 255.0).astype(np.uint8)).convert("RGB")
    pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    box = frame_in_map((rows, columns), heat.shape, wanted)
    warmth = Image.fromarray(np.maximum(heat, 0.0)).resize(size, Image.Resampling.BICUBIC, box=box)
    picture = Image.new("RGB", (max(size[0], MIN_COLUMNS), size[1] + STRIP))
    picture.paste(Image.fromarray(_blended(pixels, np.asarray(warmth))))
    ImageDraw.Draw(picture).text((4, size[1] + 2), WORDS, fill=WHITE)
    if size[0] >= KEY_COLUMNS:
        _add_key(picture, has_colour=bool(np.asarray(warmth).max() > 0))
    return picture


def _add_key(picture: "Image.Image", *, has_colour: bool) -> None:
    """What the colours say, or that there are none, on the right below the picture."""
    from PIL import Image, ImageDraw

    draw, bottom = ImageDraw.Draw(picture), picture.height - 3
    if not has_colour:
        draw.text((picture.width - 4, bottom), NO_COLOUR, fill=WHITE, anchor="rd")
        return
    ramp = np.tile(np.linspace(0.0, 1.0, KEY_SIDE, dtype=np.float32), (STRIP - 6, 1))
    strong = picture.width - 4 - round(draw.textlength("strong"))
    draw.text((strong, bottom), "strong", fill=WHITE, anchor="ld")
    grey = np.full((*ramp.shape, 3), 128, np.uint8)
    picture.paste(Image.fromarray(_blended(grey, ramp)), (strong - 6 - KEY_SIDE, picture.height - STRIP + 3))
    draw.text((strong - 12 - KEY_SIDE, bottom), "weak", fill=WHITE, anchor="rd")


def _png(picture: "Image.Image") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _blended(pixels: NDArray[np.uint8], warmth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The map's colours over the pixels (rows, columns, RGB), as strong as its value beside its largest one.

    What speaks against the finding, below 0, is not shown.
    """
    largest = float(warmth.max())
    share = np.clip(warmth / largest, 0.0, 1.0)[:, :, np.newaxis] if largest > 0 else np.zeros((*warmth.shape, 1))
    colour = WEAK + (STRONG - WEAK) * share
    opacity = OPACITY * share
    return np.asarray(np.rint(pixels * (1.0 - opacity) + colour * opacity), np.uint8)


def frame_in_map(
    frame_shape: tuple[int, int], map_shape: tuple[int, ...], wanted: Wanted
) -> tuple[float, float, float, float]:
    """Where the frame lies in the map, in cells: left, top, right, bottom; all of it, unless it was padded."""
    if wanted.resize != "pad":
        return 0.0, 0.0, float(map_shape[1]), float(map_shape[0])
    rows, columns = wanted.input_shape
    scale = min(rows / frame_shape[0], columns / frame_shape[1])
    filled = [max(1, round(side * scale)) for side in frame_shape]
    top, left = (rows - filled[0]) // 2, (columns - filled[1]) // 2
    cell = map_shape[0] / rows, map_shape[1] / columns
    return left * cell[1], top * cell[0], (left + filled[1]) * cell[1], (top + filled[0]) * cell[0]


class PictureMaker:
    """Makes pictures in limited child processes; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._pool = PicturePool(TARGET, settings)

    def make(self, wanted: Wanted) -> bytes:
        """The picture as PNG; raises as decoding does, and NotFoundError when the map is gone."""
        _, png = self._blend(wanted, raw=False)
        if not png.startswith(PNG_SIGNATURE):
            raise no_picture()
        return png

    def pixels(self, wanted: Wanted) -> Pixels:
        """The picture as raw pixels; raises as `make` does."""
        size, rgb = self._blend(wanted, raw=True)
        rows, columns = size.get("rows"), size.get("columns")
        if not (isinstance(rows, int) and isinstance(columns, int) and 0 < rows * columns * 3 == len(rgb)):
            raise no_picture()
        return Pixels(rows, columns, rgb)

    def _blend(self, wanted: Wanted, *, raw: bool) -> tuple[dict[str, Any], bytes]:
        return self._pool.make(asdict(wanted) | {"raw": raw}, MAX_PICTURE_BYTES)

    def close(self) -> None:
        """End the child processes."""
        self._pool.close()
