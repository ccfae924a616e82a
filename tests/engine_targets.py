"""Engines without TensorFlow that misbehave on command, loaded in real engine processes.

The weights' path names the behaviour while loading, a frame's first value that while predicting. Beside the weights
lies a journal of what was done, one JSON object a line.
"""

import contextlib
import ctypes
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import InvalidModelPackageError
from shared.model_contract import ModelContract
from shared.sandbox.wire import FRAME
from worker.engines.wire import DONE

JOURNAL = "journal"
GATE = "gate"
MOST_FRAMES = 4


def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(600)


def sleep() -> None:
    time.sleep(600)


def hold_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(600)


def leave() -> None:
    os._exit(3)


def fail() -> None:
    raise RuntimeError("Doe^Jane")


def babble() -> None:
    _write_everywhere(b"\xff" * 64)


def claim_gigabytes() -> None:
    _write_everywhere(FRAME.pack(DONE, 2, 2**32 - 1) + b"{}")


def _write_everywhere(data: bytes) -> None:
    for descriptor in range(3, 32):
        with contextlib.suppress(OSError):
            os.write(descriptor, data)


DEEDS: dict[float, Callable[[], None]] = {
    -1.0: segfault,
    -2.0: sleep,
    -3.0: hold_the_interpreter,
    -4.0: leave,
    -5.0: fail,
    -6.0: babble,
    -7.0: claim_gigabytes,
}
MARKS = {deed.__name__: mark for mark, deed in DEEDS.items()}
WAIT = -20.0
KILLED_IN_LARGE_BATCHES = -21.0


class MarkedEngine:
    """The probability of a frame is its last value."""

    name = "marked"
    precision = "float32"

    def __init__(self, weights_path: Path, batch_size: int) -> None:
        self._weights_path = weights_path
        self._batch_size = batch_size

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        note(self._weights_path, "predict", values=batch[:, -1, -1, -1].tolist())
        if self._weights_path.name == "exhausted_predicting" and self._batch_size > MOST_FRAMES:
            raise MemoryError
        for mark in batch[:, 0, 0, 0].tolist():
            self._act(mark)
        return batch[:, -1, -1, :1].copy()

    def _act(self, mark: float) -> None:
        if mark in DEEDS:
            note(self._weights_path, "misbehave")
            DEEDS[mark]()
        elif mark == WAIT:
            while not (self._weights_path.parent / GATE).exists():
                time.sleep(0.005)
        elif mark == KILLED_IN_LARGE_BATCHES and self._batch_size > MOST_FRAMES:
            os.kill(os.getpid(), signal.SIGKILL)


def load_marked(contract: ModelContract, weights_path: Path, *, batch_size: int) -> MarkedEngine:
    note(weights_path, "load", batch_size=batch_size, environment=sorted(os.environ))
    kind = weights_path.name
    if kind == "refused":
        raise InvalidModelPackageError("the weights are not on the list; register others")
    if kind == "exhausted_always" or (kind == "exhausted_loading" and batch_size > MOST_FRAMES):
        raise MemoryError
    if kind in MARKS:
        DEEDS[MARKS[kind]]()
    return MarkedEngine(weights_path, batch_size)


def note(weights_path: Path, act: str, **facts: Any) -> None:
    """Add a line to the journal; it must be on its way before this process dies."""
    with (weights_path.parent / JOURNAL).open("a") as journal:
        journal.write(json.dumps({"act": act, "pid": os.getpid(), "weights": weights_path.name, **facts}) + "\n")


def notes(folder: Path, act: str) -> list[dict[str, Any]]:
    """What the journal says of one kind of act."""
    path = folder / JOURNAL
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["act"] == act]
