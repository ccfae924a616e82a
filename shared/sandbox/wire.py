"""What parent and child say to each other: length-prefixed JSON, never pickle; payloads lie in shared memory."""

import struct
from dataclasses import dataclass
from typing import Any

from shared.reasons import Reason

FRAME = struct.Struct(">cIQ")  # kind, bytes of JSON, bytes of payload (behind it, or in shared memory)
REQUEST = struct.Struct(">I")  # bytes of JSON
READY, REPLY, DONE, ERROR, MEMORY, CRASH = b"+", b"r", b"d", b"e", b"m", b"x"
MAX_META_BYTES = 1024 * 1024
TAKEN = b"t"  # the parent is done with a reply's payload


@dataclass(frozen=True)
class ChildLimits:
    """What one child may use; `wall_s` bounds the time a call waits for it, and its CPU time for the call."""

    memory_bytes: int
    wall_s: float
    niceness: int = 0


@dataclass(frozen=True)
class ChildReasons:
    """The reasons recorded when a child is lost, by how it was lost."""

    crashed: Reason
    timeout: Reason
    memory: Reason


DECODE_REASONS = ChildReasons(Reason.DECODE_CRASHED, Reason.DECODE_TIMEOUT, Reason.DECODE_OUT_OF_MEMORY)


@dataclass(frozen=True)
class Reply:
    """One answer of a child: small facts and raw bytes, which are good until the next reply is asked for.

    The payload lies in memory that the child can still write to: copy it before you check it.
    """

    meta: dict[str, Any]
    payload: memoryview
