"""From stored bytes to network inputs, frame by frame, in limited child processes (arrow 4)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shared.config import Settings
from shared.dicom.parse import ReadLimits
from shared.dicom.pixels import iter_frames
from shared.errors import ChildCrashedError, DecodeError
from shared.model_package import ModelContract, load_contract
from shared.reasons import Reason
from shared.sandbox import DECODE_REASONS, ChildLimits, LimitedPool, Reply
from shared.storage import ContentStore
from worker.inference.preprocess import to_input

WIRE_DTYPE = np.dtype("<f4")
# The engine's threads wait for one another: where decoding takes a core from one of them, it stops them all.
NICENESS = 5
NO_FRAME = 0  # they are numbered from 1

_contract = lru_cache(maxsize=16)(load_contract)  # a child meets the same few contracts again and again


def decode_in_child(request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], memoryview]]:
    """Sandbox target: {"path", "limits", "contract" (its JSON text), "frames"} -> a reply for each frame.

    "frames" are the numbers of those that are wanted, in order; null: all.

    A reply's meta is {"frame": its number, from 1}, its payload little endian float32 of the contract's input shape
    (rows, columns, channels), C order.
    """
    contract = _contract(request["contract"])
    for frame in iter_frames(Path(request["path"]), ReadLimits(**request["limits"]), request["frames"]):
        yield {"frame": frame.number}, to_input(frame, contract).astype(WIRE_DTYPE, copy=False).data


class Decoder:
    """Decodes and preprocesses stored instances in a pool of limited children; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._limits = asdict(ReadLimits.of_settings(settings))
        self._pool = LimitedPool(
            "worker.inference.decode:decode_in_child",
            processes=settings.decode_processes,
            limits=ChildLimits(settings.child_memory_bytes, settings.decode_timeout_s, NICENESS),
            reasons=DECODE_REASONS,
        )

    def frames(
        self, path: Path, contract: ModelContract, wanted: Sequence[int] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Give each frame's number, from 1, and its network input; only of the `wanted` ones, where these are named.

        A child is held until the last frame is taken or the iterator is closed.

        Yields
        ------
        (number, float32 (rows, columns, channels) as the contract's input says, finite)

        Raises
        ------
        InvalidDicomError, LimitExceededError, DecodeError, ChildCrashedError
            With the reason why there is no such frame; the frames before it are good.
        """
        request = {"path": str(path), "limits": self._limits, "contract": contract.text, "frames": wanted}
        numbers = count(1) if wanted is None else chain(wanted, repeat(NO_FRAME))
        payload_bytes = math.prod(_shape(contract)) * WIRE_DTYPE.itemsize
        for expected, reply in zip(numbers, self._pool.call(request, payload_bytes=payload_bytes), strict=False):
            yield expected, _received(reply, expected, contract)

    def close(self) -> None:
        """End the child processes."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def whole_file(store: ContentStore, sha256: str) -> Path:
    """Where the bytes of a stored instance lie; raises DecodeError where they are gone, or not what they were."""
    if not store.is_whole(sha256):
        store.set_aside(sha256)
        raise DecodeError("the stored bytes are gone or damaged; send the file again", reason=Reason.BLOB_MISSING)
    return store.path(sha256)


def _shape(contract: ModelContract) -> tuple[int, int, int]:
    return contract.input.rows, contract.input.columns, contract.input.channels


def _received(reply: Reply, number: int, contract: ModelContract) -> NDArray[np.float32]:
    """The child is not trusted: take a copy of only the next frame, of the contract's shape, of finite numbers."""
    shape = _shape(contract)
    is_next = number != NO_FRAME and reply.meta.get("frame") == number
    if is_next and len(reply.payload) == math.prod(shape) * WIRE_DTYPE.itemsize:
        values = np.frombuffer(reply.payload, WIRE_DTYPE).reshape(shape).astype(np.float32)
        if np.isfinite(values).all():
            return values
    raise ChildCrashedError(
        f"the decoder gave no usable frame {number} of shape {shape}; the file is set aside",
        reason=Reason.DECODE_CRASHED,
    )
