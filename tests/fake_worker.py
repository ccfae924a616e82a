"""A worker process whose decoder and engine are stand-ins: all of its database work is real."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from shared.config import Settings
from worker.inference.batch import FramePrediction
from worker.runtime import Runtime


class _Store:
    def path(self, sha256: str) -> Path:
        return Path(__file__)

    def is_whole(self, sha256: str) -> bool:
        return True


class _Decoder:
    def __init__(self, before_each: Callable[[int], None]) -> None:
        self._before_each = before_each
        self._lock = threading.Lock()
        self._num_decoded = 0

    def frames(self, path: Path, contract: Any) -> Iterator[tuple[int, NDArray[np.float32]]]:
        with self._lock:
            self._num_decoded += 1
            self._before_each(self._num_decoded)
        yield 1, np.zeros((2, 2, 1), np.float32)


class _Engines:
    def predict(self, model: Any, array: NDArray[np.float32]) -> "Future[FramePrediction]":
        future: Future[FramePrediction] = Future()
        future.set_result(FramePrediction(np.asarray([0.25], np.float32), "stand-in", "float32"))
        return future


class FakeRuntime(Runtime):
    """`before_each` gets the number of each instance before it is decoded; what it raises, decoding raises."""

    def __init__(
        self, settings: Settings, engine: Engine, before_each: Callable[[int], None] = lambda number: None
    ) -> None:
        # Not the parent's: it would start an engine thread and load TensorFlow.
        self.settings = settings
        self.name = "worker-1"
        self.engine = engine
        self.store = _Store()  # type: ignore[assignment]
        self.decoder = _Decoder(before_each)  # type: ignore[assignment]
        self.engines = _Engines()  # type: ignore[assignment]
        self.stopping = threading.Event()
        self._held = {}
        self._lock = threading.Lock()
