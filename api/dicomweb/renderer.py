"""Makes pictures of frames, and keeps the latest."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

from api.dicomweb.rendering import JPEG, PNG, Wanted
from api.picture_pool import PicturePool, no_picture
from shared.config import MIB, Settings
from shared.dicom.display import SHAPES, Window

TARGET = "api.dicomweb.rendering:render_in_child"
SIGNATURES = {JPEG: b"\xff\xd8\xff", PNG: b"\x89PNG\r\n\x1a\n"}
MAX_PICTURE_BYTES = 64 * MIB
MAX_KEPT_BYTES = 64 * MIB


@dataclass(frozen=True)
class Picture:
    """Its bytes, and the window it is shown in, or begins with; none of colour."""

    data: bytes
    window: Window | None


class PictureCache:
    """The pictures that were used last, in bounded memory; threads share it.

    Every principal with the scope `read` sees every patient, so one's pictures may be another's.
    """

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._kept: OrderedDict[Wanted, Picture] = OrderedDict()
        self._lock = Lock()

    def get(self, wanted: Wanted) -> Picture | None:
        """It, if it is here."""
        with self._lock:
            found = self._kept.get(wanted)
            if found is not None:
                self._kept.move_to_end(wanted)
            return found

    def put(self, wanted: Wanted, picture: Picture) -> None:
        """Keep it; what was not used for longest goes."""
        with self._lock:
            before = self._kept.pop(wanted, None)
            self._bytes += len(picture.data) - (len(before.data) if before else 0)
            self._kept[wanted] = picture
            while self._bytes > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped.data)


class Renderer:
    """Renders in limited child processes; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._kept = PictureCache()
        self._pool = PicturePool(TARGET, settings)

    def picture(self, wanted: Wanted) -> Picture:
        """One that was made before, or a new one; raises as decoding does, and NotFoundError of some thumbnails."""
        found = self._kept.get(wanted)
        if found is None:
            found = self._make(wanted)
            self._kept.put(wanted, found)
        return found

    def _make(self, wanted: Wanted) -> Picture:
        told, data = self._pool.make({"wanted": wanted.document()}, MAX_PICTURE_BYTES)
        if not data.startswith(SIGNATURES[wanted.media_type]):
            raise no_picture()
        return Picture(data, _checked(told.get("window")))

    def close(self) -> None:
        """End the child processes."""
        self._pool.close()


def _checked(found: Any) -> Window | None:
    """A window out of a child, which is not trusted."""
    match found:
        case [int() | float() as center, int() | float() as width, str() as shape] if shape in SHAPES:
            window = Window(float(center), float(width), shape)
            return window if math.isfinite(window.center) and math.isfinite(window.width) else None
    return None
