"""A worker process whose decoder and engine are stand-ins: all of its database work is real."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from shared.config import Settings
from shared.repositories.proofs import Hardware
from worker.inference.batch import FramePrediction
from worker.runtime import Runtime


class WorkerDied(BaseException):
    """What decoding or loading raises where the whole process is to die: the worker writes nothing after it."""


class _Store:
    def path(self, sha256: str) -> Path:
        return Path(sha256)

    def is_whole(self, sha256: str) -> bool:
        return True


class _Decoder:
    def __init__(self, before_each: Callable[[int], None], decoding: Callable[[str], None]) -> None:
        self._before_each = before_each
        self._decoding = decoding
        self._lock = threading.Lock()
        self._num_decoded = 0

    def frames(self, path: Path, contract: Any, wanted: Any = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        with self._lock:
            self._num_decoded += 1
            self._before_each(self._num_decoded)
            self._decoding(path.name)
        yield 1, np.zeros((2, 2, 1), np.float32)


class _Engines:
    def __init__(self, loading: Callable[[], None]) -> None:
        self._loading = loading

    def prepare(self, model: Any) -> "Future[None]":
        self._loading()
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def coming(self) -> AbstractContextManager[None]:
        return nullcontext()

    def predict(self, model: Any, array: NDArray[np.float32], *, rank: int = 0, **_: Any) -> "Future[FramePrediction]":
        future: Future[FramePrediction] = Future()
        future.set_result(FramePrediction(np.asarray([0.25], np.float32), "stand-in", "float32", 1))
        return future


class FakeRuntime(Runtime):
    """`before_each` gets the number of each instance before it is decoded, `decoding` the digest of its bytes.

    What they raise, decoding raises; what `loading` raises, loading the model raises.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        before_each: Callable[[int], None] = lambda number: None,
        *,
        decoding: Callable[[str], None] = lambda sha256: None,
        loading: Callable[[], None] = lambda: None,
    ) -> None:
        # Not the parent's: it would start an engine thread and load TensorFlow.
        self.settings = settings
        self.name = "worker-1"
        self.engine = engine
        self.hardware = Hardware("0" * 64, "no machine")
        self.store = _Store()  # type: ignore[assignment]
        self.decoder = _Decoder(before_each, decoding)  # type: ignore[assignment]
        self.engines = _Engines(loading)  # type: ignore[assignment]
        self._begin(settings)
