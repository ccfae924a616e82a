"""What waits for the engine: frames in the order in which they are served, and models to be loaded."""

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.model_contract import ModelContract
from shared.states import Explain
from worker.engines.base import EXPLAINER, EXPLAINER_ENGINE, REFERENCE, EngineChoice
from worker.engines.maps import FrameMaps

# A frame that was overtaken for so long is served next, one batch in so long: what is urgent never waits for more.
OVERTAKEN_S = 30.0
# A batch that is not full is held back for at most so long while frames that could fill it are being decoded: to begin
# at once would cost nearly as much, and take the time that decoding needs.
LINGER_S = 0.1


@dataclass(frozen=True)
class ServedModel:
    """Which package a frame is for, and in which engine."""

    digest: str
    contract: ModelContract
    weights_path: Path
    choice: EngineChoice = REFERENCE

    @property
    def key(self) -> str:
        """What tells loaded engines apart."""
        return f"{self.digest}/{self.choice.engine}/{self.choice.precision}/{self.choice.part_size}"

    @property
    def is_reference(self) -> bool:
        """Whether this is the engine that the others are compared with."""
        return (self.choice.engine, self.choice.precision) == (REFERENCE.engine, REFERENCE.precision)

    @property
    def is_explainer(self) -> bool:
        """Whether this predicts nothing, and computes heat maps."""
        return self.choice.engine == EXPLAINER_ENGINE

    @property
    def has_reference_behind(self) -> bool:
        """Whether the reference takes over where this engine fails."""
        return not self.is_reference and not self.is_explainer

    def explainer(self) -> "ServedModel":
        """What computes heat maps of the same package, where its engines give none."""
        return replace(self, choice=EXPLAINER)

    def reference(self) -> "ServedModel":
        """The same package in the engine that the others are compared with."""
        return replace(self, choice=REFERENCE)

    def are_decided(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether the reference is on the same side of every threshold, as far as the proof's tolerance goes.

        Of probabilities (batch, findings): (batch,). Never where one of them is not finite.
        """
        if not self.has_reference_behind:
            return np.ones(len(probabilities), np.bool_)
        # At a threshold of 0 everything is present, and a background is never decided on.
        decisive = np.array([finding.threshold > 0 and not finding.background for finding in self.contract.findings])
        distances = np.abs(probabilities - np.array([finding.threshold for finding in self.contract.findings]))
        far = (distances > self.contract.proof.tolerance) | ~decisive
        return np.asarray((far & np.isfinite(probabilities)).all(axis=1))


@dataclass(frozen=True)
class FramePrediction:
    """Probabilities of one frame, shape (findings,), what computed them, and whether a faster engine had before.

    With the heat maps that were asked for.
    """

    probabilities: NDArray[np.float32]
    engine: str
    precision: str
    batch_size: int
    repeated: bool = False
    maps: FrameMaps = field(default_factory=FrameMaps)


@dataclass(eq=False)
class LoadRequest:
    """A model that is wanted in memory before its frames come."""

    model: ServedModel
    future: "Future[None]" = field(default_factory=Future)


@dataclass(eq=False)
class FrameRequest:
    """One frame, float32 (rows, columns, channels); after it was in a batch that ended the engine it runs alone.

    An explainer is asked for `findings`, places in the contract; its answer has nothing but their maps.
    """

    model: ServedModel
    array: NDArray[np.float32]
    rank: int = 0
    number: int = 0
    queued_at: float = 0.0
    deaths: int = 0
    repeated: bool = False
    explain: Explain = Explain.NONE
    findings: tuple[int, ...] = ()
    future: "Future[FramePrediction]" = field(default_factory=Future)

    def turn_to_reference(self) -> None:
        """Have the reference answer, with a clean record."""
        self.model, self.deaths = self.model.reference(), 0


class _Queue(NamedTuple):
    key: str
    rank: int
    alone: bool


class WaitingRequests:
    """Any thread adds; only the engine thread takes. By rank, the lowest first; within a rank, first come."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._frames: dict[_Queue, deque[FrameRequest]] = {}
        self._loads: deque[LoadRequest] = deque()
        self._overtaken_served_at = 0.0
        self._num_coming = 0
        self._closed_with: Exception | None = None

    def add(self, request: FrameRequest) -> None:
        """Queue a frame behind those of its rank."""
        with self._changed:
            if self._closed_with is not None:
                request.future.set_exception(self._closed_with)
                return
            request.number = next(self._numbers)
            request.queued_at = time.monotonic()
            self._queue(request).append(request)
            self._changed.notify()

    def add_load(self, request: LoadRequest) -> None:
        """Queue a model; models are loaded before frames are served."""
        with self._changed:
            if self._closed_with is not None:
                request.future.set_exception(self._closed_with)
                return
            self._loads.append(request)
            self._changed.notify()

    def put_back(self, requests: Sequence[FrameRequest]) -> None:
        """Queue frames that were taken where they stood before; what was taken last is put back first."""
        with self._changed:
            for request in reversed(requests):
                self._queue(request).appendleft(request)

    def wait(self) -> None:
        """Wait until there is something to do, or until closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._loads or self._frames or self._closed_with)

    @contextmanager
    def coming(self) -> Iterator[None]:
        """While frames are being made: a batch may wait a little for them."""
        self._count_coming(1)
        try:
            yield
        finally:
            self._count_coming(-1)

    def wants_more(self, first: FrameRequest, count: int, size: int) -> bool:
        """Whether a batch of `count` frames, of which this one came first, should wait for more, up to `size`."""
        with self._changed:
            return self._left_s(first, count, size) > 0

    def linger(self, first: FrameRequest, size: int) -> None:
        """Wait while a batch that begins with the queued frame `first` should wait for more, up to `size`."""
        with self._changed:
            while (left_s := self._left_s(first, self._num_queued(first.model.key), size)) > 0:
                self._changed.wait(left_s)

    def load(self) -> LoadRequest | None:
        """The next model to load; it stays in the queue until `settle` tells whoever waits for it."""
        with self._changed:
            return self._loads[0] if self._loads else None

    def first(self) -> FrameRequest | None:
        """The frame to serve next; it stays in the queue."""
        with self._changed:
            heads = [queue[0] for queue in self._frames.values()]
            if not heads:
                return None
            oldest = min(heads, key=lambda head: head.number)
            now = time.monotonic()
            if now - max(oldest.queued_at, self._overtaken_served_at) > OVERTAKEN_S:
                return oldest
            return min(heads, key=lambda head: (head.rank, head.number))

    def take(self, first: FrameRequest, size: int) -> list[FrameRequest]:
        """Take a batch of at most `size` that begins with the queued frame `first`: of its model, in order of rank."""
        with self._changed:
            now = time.monotonic()
            if now - first.queued_at > OVERTAKEN_S:
                self._overtaken_served_at = now
            self._take_one(_queue_of(first))
            return [first] if first.deaths else [first, *self._more(first.model.key, size - 1)]

    def more(self, key: str, size: int) -> list[FrameRequest]:
        """Take at most `size` more of a model, to fill a batch."""
        with self._changed:
            return self._more(key, size)

    def overtakes(self, requests: Sequence[FrameRequest]) -> bool:
        """Whether something waits that goes before a batch that was taken already."""
        rank = min(request.rank for request in requests)
        with self._changed:
            return bool(self._loads) or any(queue.rank < rank for queue in self._frames)

    def settle(self, key: str | None, error: Exception | None) -> None:
        """Tell those who wait for a model that it is loaded; of an error, also its frames. No key: all models."""
        with self._changed:
            loads = [load for load in self._loads if key in (None, load.model.key)]
            self._loads = deque(load for load in self._loads if load not in loads)
            queues = [queue for queue in self._frames if error and key in (None, queue.key)]
            frames = [frame for queue in queues for frame in self._frames.pop(queue)]
        for load in loads:
            with contextlib.suppress(InvalidStateError):  # whoever waited may have given up
                load.future.set_exception(error) if error else load.future.set_result(None)
        for frame in frames:
            with contextlib.suppress(InvalidStateError):
                frame.future.set_exception(error)

    def redirect(self, key: str) -> None:
        """Have those who wait for a model in this engine wait for it in the reference."""
        with self._changed:
            for load in self._loads:
                if load.model.key == key:
                    load.model = load.model.reference()
            queues = [queue for queue in self._frames if queue.key == key]
            frames = [frame for queue in queues for frame in self._frames.pop(queue)]
            for frame in sorted(frames, key=lambda frame: frame.number):
                frame.turn_to_reference()
                self._queue(frame).append(frame)

    def close(self, error: Exception) -> None:
        """Refuse what comes from now on with an error."""
        with self._changed:
            self._closed_with = error
            self._changed.notify()

    def _count_coming(self, number: int) -> None:
        with self._changed:
            self._num_coming += number
            self._changed.notify()

    def _num_queued(self, key: str) -> int:
        return sum(len(queue) for name, queue in self._frames.items() if name.key == key)

    def _left_s(self, first: FrameRequest, count: int, size: int) -> float:
        if first.deaths or count >= size or not self._num_coming or self._loads or self._closed_with:
            return 0.0
        return first.queued_at + LINGER_S - time.monotonic()

    def _queue(self, request: FrameRequest) -> deque[FrameRequest]:
        return self._frames.setdefault(_queue_of(request), deque())

    def _take_one(self, name: _Queue) -> FrameRequest:
        queue = self._frames[name]
        request = queue.popleft()
        if not queue:
            del self._frames[name]
        return request

    def _more(self, key: str, size: int) -> list[FrameRequest]:
        names = sorted(name for name in self._frames if name.key == key and not name.alone)
        taken: list[FrameRequest] = []
        for name in names:
            while len(taken) < size and name in self._frames:
                taken.append(self._take_one(name))
        return taken


def _queue_of(request: FrameRequest) -> _Queue:
    return _Queue(request.model.key, request.rank, request.deaths > 0)
