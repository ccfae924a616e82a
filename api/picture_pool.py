"""Limited children that make pictures of frames: one of each request."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shared.config import Settings
from shared.dicom.parse import ReadLimits
from shared.errors import ChildCrashedError
from shared.reasons import Reason
from shared.sandbox import DECODE_REASONS, ChildLimits, LimitedPool

NO_PICTURE = "the picture's maker gave no picture"


class PicturePool:
    """Children that run one target; safe to share between threads."""

    def __init__(self, target: str, settings: Settings) -> None:
        self._limits = asdict(ReadLimits.of_settings(settings))
        self._pool = LimitedPool(
            target,
            processes=settings.parse_processes,
            limits=ChildLimits(settings.child_memory_bytes, settings.decode_timeout_s),
            reasons=DECODE_REASONS,
        )

    def make(self, request: Mapping[str, Any], max_bytes: int) -> tuple[dict[str, Any], bytes]:
        """What the child says of its picture, which is not trusted, and the picture; raises as decoding does."""
        replies = self._pool.call(dict(request) | {"limits": self._limits}, payload_bytes=max_bytes)
        made = [(dict(reply.meta), bytes(reply.payload)) for reply in replies]
        if len(made) != 1:
            raise no_picture()
        return made[0]

    def close(self) -> None:
        """End the child processes."""
        self._pool.close()


def no_picture() -> ChildCrashedError:
    """The child gave something else."""
    return ChildCrashedError(NO_PICTURE, reason=Reason.DECODE_CRASHED)
