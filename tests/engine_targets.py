"""Engines without TensorFlow that misbehave on command, loaded in real engine processes.

The weights' path names the behaviour while loading, a frame's first value that while predicting. Beside the weights
lies a journal of what was done, one JSON object a line.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import EngineMissingError, InvalidModelPackageError
from shared.model_contract import ModelContract
from shared.sandbox.wire import FRAME
from worker.engines.base import EXPLAINER_ENGINE, REFERENCE, EngineChoice
from worker.engines.load import load_engine
from worker.engines.wire import DONE

JOURNAL = "journal"
GATE = "gate"
MOST_FRAMES = 4
SLOW_S = 0.05
# By the name of the weights, how far other engines are from the reference.
OFF_BY = {"others-close": 0.004, "others-far": 0.05}


def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(600)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
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


def send_a_map_unasked() -> None:
    _write_everywhere(FRAME.pack(DONE, 2, 5) + b"{}" + np.float32(0.5).tobytes() + b"\x01")
    time.sleep(600)


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
    -8.0: killed,
    -9.0: send_a_map_unasked,
}
MARKS = {deed.__name__: mark for mark, deed in DEEDS.items()}
# These only in another engine than the reference.
LOSES_NUMBERS, KILLS_OTHERS = -22.0, -23.0
# This only in an explainer.
KILLS_EXPLAINER = -24.0
WAIT = -20.0
KILLED_IN_LARGE_BATCHES = -21.0


class MarkedEngine:
    """The probability of a frame is its last value; in another engine than the reference it is `OFF_BY` more."""

    def __init__(self, contract: ModelContract, weights_path: Path, choice: EngineChoice) -> None:
        self.is_reference = choice.engine == REFERENCE.engine
        self.name = "marked" if self.is_reference else choice.engine
        self.precision = choice.precision
        self.map_shape = (contract.input.rows, contract.input.columns) if weights_path.name == "mapped" else None
        self._weights_path = weights_path
        self._batch_size = max(choice.batch_sizes)

    def predict_with_maps(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        return self.predict(batch), batch.transpose(0, 3, 1, 2) if self.map_shape else None

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        note(self._weights_path, "predict", engine=self.name, values=batch[:, -1, -1, -1].tolist())
        if self._weights_path.name == "exhausted_predicting" and self._batch_size > MOST_FRAMES:
            raise MemoryError
        for mark in batch[:, 0, 0, 0].tolist():
            self._act(mark)
        if self._weights_path.name == ("reference-slow" if self.is_reference else "others-slow"):
            time.sleep(SLOW_S)
        probabilities = batch[:, -1, -1, :1].copy()
        if not self.is_reference:
            probabilities += OFF_BY.get(self._weights_path.name, 0.0)
            probabilities[batch[:, 0, 0, 0] == LOSES_NUMBERS] = np.nan
        return probabilities

    def _act(self, mark: float) -> None:
        if mark in DEEDS:
            note(self._weights_path, "misbehave")
            DEEDS[mark]()
        elif mark == KILLS_OTHERS and not self.is_reference:
            segfault()
        elif mark == WAIT:
            while not (self._weights_path.parent / GATE).exists():
                time.sleep(0.005)
        elif mark == KILLED_IN_LARGE_BATCHES and self._batch_size > MOST_FRAMES:
            os.kill(os.getpid(), signal.SIGKILL)


class MarkedExplainer:
    """A frame's map is twice the frame."""

    name, precision = EXPLAINER_ENGINE, "float32"

    def __init__(self, contract: ModelContract, weights_path: Path) -> None:
        self.map_shape = (contract.input.rows, contract.input.columns)
        self._weights_path = weights_path

    def explain(self, batch: NDArray[np.float32], wanted: NDArray[np.bool_]) -> NDArray[np.float32]:
        note(self._weights_path, "explain", values=batch[:, -1, -1, -1].tolist())
        if KILLS_EXPLAINER in batch[:, 0, 0, 0]:
            note(self._weights_path, "misbehave")
            segfault()
        return 2.0 * batch.transpose(0, 3, 1, 2)


def load_marked(
    contract: ModelContract, weights_path: Path, choice: EngineChoice, cache: Path
) -> MarkedEngine | MarkedExplainer:
    batch_size = max(choice.batch_sizes)
    note(weights_path, "load", batch_size=batch_size, engine=choice.engine, environment=sorted(os.environ))
    # What only other engines than the reference do has a name that begins so.
    kind = weights_path.name
    if kind.startswith("others-"):
        kind = "well" if choice.engine == REFERENCE.engine else kind.removeprefix("others-")
    if kind == "missing":
        raise EngineMissingError("this engine is not installed; install it")
    if kind == "refused":
        raise InvalidModelPackageError("the weights are not on the list; register others")
    if kind == "exhausted_always" or (kind == "exhausted_loading" and batch_size > MOST_FRAMES):
        raise MemoryError
    if kind in MARKS:
        DEEDS[MARKS[kind]]()
    if kind == "unexplainable" and choice.engine == EXPLAINER_ENGINE:
        segfault()
    if choice.engine == EXPLAINER_ENGINE:
        return MarkedExplainer(contract, weights_path)
    return MarkedEngine(contract, weights_path, choice)


def load_without_openvino(contract: ModelContract, weights_path: Path, choice: EngineChoice, cache: Path) -> Any:
    """The product's own engines, where OpenVINO is not installed."""
    sys.modules["openvino"] = None  # type: ignore[assignment]
    return load_engine(contract, weights_path, choice, cache)


def load_without_onnx(contract: ModelContract, weights_path: Path, choice: EngineChoice, cache: Path) -> Any:
    """The same without ONNX."""
    sys.modules["onnx"] = None  # type: ignore[assignment]
    return load_engine(contract, weights_path, choice, cache)


def note(weights_path: Path, act: str, **facts: Any) -> None:
    """Add a line to the journal; it must be on its way before this process dies."""
    with (weights_path.parent / JOURNAL).open("a") as journal:
        journal.write(json.dumps({"act": act, "pid": os.getpid(), "weights": weights_path.name, **facts}) + "\n")


def notes(folder: Path, act: str) -> list[dict[str, Any]]:
    """What the journal says of one kind of act."""
    path = folder / JOURNAL
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["act"] == act]
