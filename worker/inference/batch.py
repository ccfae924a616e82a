"""One engine thread for the whole process: batches fill across all shards in flight."""

import os
import queue
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from shared.model_contract import ModelContract
from worker.engines.base import Engine

log = structlog.get_logger()

# sysexits.h: EX_SOFTWARE.
EXIT_ENGINE_THREAD = 70
# Loaded engines kept at once; the one unused for longest goes first.
MAX_ENGINES = 4


@dataclass(frozen=True)
class ServedModel:
    """Which package a frame is for."""

    digest: str
    contract: ModelContract
    weights_path: Path


@dataclass(frozen=True)
class FramePrediction:
    """Probabilities of one frame, shape (findings,), and what computed them."""

    probabilities: NDArray[np.float32]
    engine: str
    precision: str


@dataclass
class _Request:
    model: ServedModel
    array: NDArray[np.float32]
    future: "Future[FramePrediction]" = field(default_factory=Future)


class EngineThread:
    """Loads engines and predicts, in a thread of its own, so that TensorFlow lives in one place."""

    def __init__(self, *, batch_size: int) -> None:
        self._batch_size = batch_size
        self._requests: queue.Queue[_Request | None] = queue.Queue()
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def predict(self, model: ServedModel, array: NDArray[np.float32]) -> "Future[FramePrediction]":
        """Queue one frame, float32 (rows, columns, channels); the future holds its probabilities or the error."""
        request = _Request(model, array)
        self._requests.put(request)
        return request.future

    def loaded(self) -> list[str]:
        """Name and precision of the engines in memory, with the digest's first characters."""
        engines = list(self._engines.items())
        return [f"{engine.name}/{engine.precision}/{digest[:12]}" for digest, engine in engines]

    def close(self) -> None:
        """End the thread after what is queued."""
        self._requests.put(None)
        self._thread.join(timeout=10.0)

    def _run(self) -> None:
        """Serve until closed. Without this thread every shard would wait for ever, so its end is the process's."""
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001 - whatever ends it
            log.critical("engine_thread_ended", error=type(error).__name__)
            os._exit(EXIT_ENGINE_THREAD)

    def _serve(self) -> None:
        # TensorFlow takes seconds to import: here, at once, so that the first shard does not wait for it.
        from worker.engines.keras import import_keras

        import_keras()
        while (first := self._requests.get()) is not None:
            batches, ended = self._drain(first)
            for requests in batches.values():
                for start in range(0, len(requests), self._batch_size):
                    self._predict(requests[start : start + self._batch_size])
            if ended:
                return

    def _drain(self, first: _Request) -> tuple[dict[str, list[_Request]], bool]:
        """What is queued now, by model: while one batch computes, the next gathers, so no waiting is needed."""
        batches: dict[str, list[_Request]] = {first.model.digest: [first]}
        try:
            for _ in range(8 * self._batch_size):
                request = self._requests.get_nowait()
                if request is None:
                    return batches, True
                batches.setdefault(request.model.digest, []).append(request)
        except queue.Empty:
            pass
        return batches, False

    def _predict(self, requests: list[_Request]) -> None:
        try:
            engine = self._engine(requests[0].model)
            rows = engine.predict(np.stack([request.array for request in requests]))
        except Exception as error:  # noqa: BLE001 - every waiting shard must hear of it
            for request in requests:
                request.future.set_exception(error)
            return
        for request, row in zip(requests, rows, strict=True):
            request.future.set_result(FramePrediction(row, engine.name, engine.precision))

    def _engine(self, model: ServedModel) -> Engine:
        known = self._engines.get(model.digest)
        if known is not None:
            self._engines.move_to_end(model.digest)
            return known
        engine = self._load(model)
        self._engines[model.digest] = engine
        if len(self._engines) > MAX_ENGINES:
            self._engines.popitem(last=False)
        return engine

    def _load(self, model: ServedModel) -> Engine:
        from worker.engines.keras import load_keras_engine

        return load_keras_engine(model.contract, model.weights_path, batch_size=self._batch_size)
