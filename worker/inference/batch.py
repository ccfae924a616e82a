"""One engine thread for the whole worker: batches fill across all shards in flight, and a death is blamed rightly."""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from shared.errors import EngineLostError, EngineMemoryError, OverreadError, TransientError
from shared.states import Explain
from worker.engines.death import KILLED, EngineDeathError
from worker.engines.host import BatchAnswer, EngineHost, LoadedEngine
from worker.engines.requests import FramePrediction, FrameRequest, LoadRequest, ServedModel, WaitingRequests
from worker.engines.wire import ENGINES_TARGET
from worker.inference.explain import explain_request, maps_of

__all__ = ["EngineThread", "FramePrediction", "ServedModel"]

log = structlog.get_logger()

# sysexits.h: EX_SOFTWARE.
EXIT_ENGINE_THREAD = 70
CLOSE_S = 10.0
SHORT_DIGEST = 12
# Between two tries of a process that does not start: doubles with each.
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 30.0


@dataclass
class _Batch:
    """Frames of one model that lie in one of the process's slots."""

    model: ServedModel
    requests: list[FrameRequest]
    slot: int


class EngineThread:
    """Gathers frames into batches and has the engine's process predict on them.

    The network runs in a process of its own (`worker.engines.child`): one that hangs can be killed, and one that dies
    takes no shard with it. The frames of a batch over which the process died run again, each alone, and one over which
    it died `max_crashes` times fails; so does one for which there is no memory even alone.

    Where a model is asked for in another engine than the reference, the reference is behind it: it answers where the
    other one's probability is too close to a threshold, where the other one fails, and when it cannot be loaded.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        timeout_s: float,
        load_timeout_s: float,
        cache: Path,
        max_crashes: int = 3,
        target: str = ENGINES_TARGET,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._max_crashes = max_crashes
        self._host = EngineHost(
            target=target,
            batch_size=batch_size,
            timeout_s=timeout_s,
            load_timeout_s=load_timeout_s,
            cache=cache,
            environment=environment,
        )
        self._waiting = WaitingRequests()
        self._closed = threading.Event()
        self._num_failed_starts = 0
        self._lost_loads: Counter[str] = Counter()
        self._set_aside: dict[str, OverreadError] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def prepare(self, model: ServedModel) -> "Future[None]":
        """Load a model ahead of its frames.

        The future raises InvalidModelPackageError, EngineMemoryError, or EngineLostError when the process died of it.
        """
        request = LoadRequest(self._trusted(model))
        if self._host.has(request.model):
            request.future.set_result(None)
        else:
            self._waiting.add_load(request)
        return request.future

    def predict(
        self, model: ServedModel, array: NDArray[np.float32], *, rank: int = 0, explain: Explain = Explain.NONE
    ) -> "Future[FramePrediction]":
        """Queue one frame, float32 (rows, columns, channels); the future holds its probabilities or the error.

        A lower rank is served first: its frame waits for the batch that is running and for none that is not. `explain`
        says which findings get a heat map.
        """
        request = FrameRequest(self._trusted(model), array, rank, explain=explain)
        shape = model.contract.input
        expected = (shape.rows, shape.columns, shape.channels)
        if array.shape == expected:
            self._waiting.add(request)
        else:
            error = ValueError(f"a frame of shape {array.shape}, expected {expected}; preprocess it first")
            request.future.set_exception(error)
        return request.future

    def coming(self) -> AbstractContextManager[None]:
        """To be held while frames are decoded: batches wait a little for frames that are on their way."""
        return self._waiting.coming()

    def loaded(self) -> list[str]:
        """Name and precision of the engines in memory, with the digest's first characters."""
        engines = self._host.loaded()
        return [f"{engine.name}/{engine.precision}/{key[:SHORT_DIGEST]}" for key, engine in engines]

    def loading(self) -> list[str]:
        """The first characters of the digests of models that are being loaded."""
        return [key[:SHORT_DIGEST] for key in self._host.loading()]

    def close(self) -> None:
        """End the process and the thread; what waits gets a TransientError."""
        self._waiting.close(TransientError("the engine is closed: the worker is stopping, try again"))
        self._closed.set()
        self._host.close()
        self._thread.join(timeout=CLOSE_S)

    def _run(self) -> None:
        """Serve until closed. Without this thread every shard would wait for ever, so its end is the process's."""
        try:
            # Libraries take seconds to import: at once, so that the first shard does not wait for them.
            with contextlib.suppress(EngineLostError):  # it is tried again when somebody waits
                self._host.start()
            self._serve()
        except BaseException as error:  # noqa: BLE001 - whatever ends it
            log.critical("engine_thread_ended", error=type(error).__name__)
            os._exit(EXIT_ENGINE_THREAD)

    def _serve(self) -> None:
        running: _Batch | None = None
        while not self._closed.is_set():
            if running is None:
                self._waiting.wait()
                running = self._begin_anew()
            else:
                running = self._go_on(running)
        if running is not None:
            self._waiting.put_back(running.requests)
        self._host.discard()
        self._waiting.settle(None, TransientError("the engine is closed: the worker is stopping, try again"))

    def _begin_anew(self) -> _Batch | None:
        """With nothing running: load what is wanted first, or begin the next batch."""
        wanted = self._waiting.load() or self._waiting.first()
        if wanted is None or not self._load(wanted.model):
            return None
        if isinstance(wanted, LoadRequest):
            self._waiting.settle(wanted.model.key, None)
            return None
        self._waiting.linger(wanted, self._host.batch_size(wanted.model))
        batch = self._gather(slot=0)
        return batch if batch is not None and self._begin(batch) else None

    def _go_on(self, running: _Batch) -> _Batch | None:
        """Gather the next batch while one runs, begin it when that is done, and only then tell who waited."""
        ahead = self._gather(slot=1 - running.slot)
        answer = self._finish(running, ahead)
        if answer is None:
            return None
        engine = self._host.engine(running.model)
        if ahead is not None and self._waiting.overtakes(ahead.requests):
            self._waiting.put_back(ahead.requests)
            ahead = None
        if ahead is None:
            ahead = self._gather(slot=1 - running.slot)
        else:
            self._fill(ahead)
        if ahead is not None and self._wants_more(ahead):
            self._waiting.put_back(ahead.requests)
            ahead = None
        has_begun = ahead is not None and self._begin(ahead)
        self._deliver(running, answer, engine)
        return ahead if has_begun else None

    def _load(self, model: ServedModel) -> bool:
        """Have a model in memory; False when that failed, and everyone who waits for it was told."""
        if model.key in self._set_aside:
            self._dismiss(model, self._set_aside[model.key])
            return False
        try:
            self._host.load(model)
        except EngineDeathError as death:
            if not self._closed.is_set():
                self._lose_load(model, death)
        except EngineLostError as error:
            if not self._closed.is_set():
                self._waiting.settle(None, error)
                self._closed.wait(min(FIRST_BACKOFF_S * 2**self._num_failed_starts, MAX_BACKOFF_S))
                self._num_failed_starts += 1
        except OverreadError as error:
            self._fail_load(model, error)
        else:
            self._num_failed_starts = 0
            self._lost_loads.pop(model.key, None)
            return True
        return False

    def _lose_load(self, model: ServedModel, death: EngineDeathError) -> None:
        """The first deaths may have come from outside; who waits for the reference decides on that himself."""
        self._lost_loads[model.key] += 1
        if model.is_reference:
            self._fail_load(model, death.lost())
        elif self._lost_loads[model.key] >= self._max_crashes:
            self._fail_load(model, death.blame_load(self._lost_loads[model.key]))

    def _fail_load(self, model: ServedModel, error: OverreadError) -> None:
        """Dismiss those who wait for it. What is not the reference is set aside, with the reason, until we end."""
        if not model.is_reference:
            why = type(error).__name__
            log.warning("engine_set_aside", engine=model.choice.engine, precision=model.choice.precision, error=why)
            self._set_aside[model.key] = error
        self._dismiss(model, error)

    def _dismiss(self, model: ServedModel, error: OverreadError) -> None:
        """Have those who wait for an engine wait for the reference, where that is behind it; else tell them."""
        if model.has_reference_behind:
            self._waiting.redirect(model.key)
        else:
            self._waiting.settle(model.key, error)

    def _trusted(self, model: ServedModel) -> ServedModel:
        return model.reference() if model.key in self._set_aside else model

    def _gather(self, slot: int) -> _Batch | None:
        """Write the next batch's frames into their places; None when nothing waits that can be predicted on now."""
        first = self._waiting.first()
        if first is None or self._waiting.load() is not None or not self._host.has(first.model):
            return None
        requests = self._waiting.take(first, self._host.batch_size(first.model))
        self._host.place(slot, first.model, 0, requests)
        return _Batch(first.model, requests, slot)

    def _fill(self, batch: _Batch) -> None:
        """Fill a batch with what came since it was gathered."""
        room = self._host.batch_size(batch.model) - len(batch.requests)
        if room and not batch.requests[0].deaths:
            more = self._waiting.more(batch.model.key, room)
            self._host.place(batch.slot, batch.model, len(batch.requests), more)
            batch.requests += more

    def _wants_more(self, batch: _Batch) -> bool:
        first, size = batch.requests[0], self._host.batch_size(batch.model)
        return self._waiting.wants_more(first, len(batch.requests), size)

    def _begin(self, batch: _Batch) -> bool:
        try:
            self._host.begin(batch.slot, batch.model, batch.requests)
        except EngineDeathError:
            self._waiting.put_back(batch.requests)
            return False
        return True

    def _finish(self, batch: _Batch, ahead: _Batch | None) -> BatchAnswer | None:
        """The batch's answer; None when it has to be run again, or was failed, and so has what is ahead."""
        try:
            return self._host.finish(batch.model, batch.requests)
        except (EngineDeathError, EngineMemoryError) as error:
            if ahead is not None:
                self._waiting.put_back(ahead.requests)
            if isinstance(error, EngineMemoryError):
                self._run_smaller(batch, error)
            else:
                self._run_alone(batch, error)
            return None

    def _run_smaller(self, batch: _Batch, error: EngineMemoryError) -> None:
        if self._host.halve(batch.model):
            self._waiting.put_back(batch.requests)
        else:
            self._fail(batch.requests, error)

    def _run_alone(self, batch: _Batch, death: EngineDeathError) -> None:
        """Blame the process's death on the batch: one frame that ran alone can be failed, several run again alone."""
        requests = batch.requests
        is_alone = len(requests) == 1
        is_killed_again = is_alone and requests[0].deaths > 0 and death.how == KILLED
        innocent = self._closed.is_set() or not death.begun
        # Killed by the kernel, again and again over one frame: there is not enough memory for a batch of this size.
        if innocent or (is_killed_again and self._host.halve(batch.model)):
            self._waiting.put_back(requests)
            return
        for request in requests:
            request.deaths += 1
        if is_alone and requests[0].deaths >= self._max_crashes:
            self._fail(requests, death.blame(requests[0].deaths))
        else:
            self._waiting.put_back(requests)

    def _deliver(self, batch: _Batch, answer: BatchAnswer, engine: LoadedEngine) -> None:
        """Answer, but for frames that are too close to a threshold: the reference decides on these."""
        rows = answer.probabilities
        are_decided = batch.model.are_decided(rows)
        for request, row, maps, is_decided in zip(batch.requests, rows, answer.maps, are_decided, strict=True):
            if not is_decided:
                request.turn_to_reference()
                request.repeated = True
                self._waiting.add(request)
                continue
            found = maps_of(request, row, maps, has_maps=engine.map_shape is not None)
            given = FramePrediction(row, engine.name, engine.precision, engine.batch_size, request.repeated, found)
            if (following := explain_request(request, given)) is not None:
                self._waiting.add(following)
                continue
            with contextlib.suppress(InvalidStateError):  # whoever waited may have given up
                request.future.set_result(given)

    def _fail(self, requests: list[FrameRequest], error: OverreadError) -> None:
        """Nothing more can be done for these in their engine: the reference gets its try, and then they fail."""
        for request in requests:
            if request.model.has_reference_behind:
                request.turn_to_reference()
                self._waiting.add(request)
                continue
            with contextlib.suppress(InvalidStateError):
                request.future.set_exception(error)
