"""Keeps one engine process going: started when needed, replaced when it dies, and what is loaded in it."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from shared.errors import EngineLostError, EngineMemoryError
from worker.engines.death import EngineDeathError
from worker.engines.maps import MAP_BYTES, HeatMap, checked_shape, unpack, wanted_maps
from worker.engines.process import EngineProcess
from worker.engines.requests import FrameRequest, ServedModel

log = structlog.get_logger()

# Loaded engines kept at once; the one unused for longest goes first.
MAX_ENGINES = 4
# An interpreter and its libraries; how long a model may take is a setting.
START_TIMEOUT_S = 300.0
MAX_NAME_LENGTH = 100
VALUE_BYTES = 4
# Where one batch at a time is enough.
ONLY_SLOT = 0


@dataclass(frozen=True)
class LoadedEngine:
    """What the process says of an engine, and how many frames it computes at once: recorded on every prediction."""

    name: str
    precision: str
    batch_size: int
    map_shape: tuple[int, int] | None


@dataclass(frozen=True)
class BatchAnswer:
    """Of a batch: probabilities, float32 (batch, findings), and of each frame the heat maps by finding.

    An explainer gives maps only; its probabilities are NaN.
    """

    probabilities: NDArray[np.float32]
    maps: list[dict[int, HeatMap]]


class EngineHost:
    """For one thread; only `has`, `loaded`, `loading` and `close` are for any."""

    def __init__(
        self,
        *,
        target: str,
        batch_size: int,
        timeout_s: float,
        load_timeout_s: float,
        cache: Path,
        niceness: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._target = target
        self._batch_size = batch_size
        self._timeout_s = timeout_s
        self._load_timeout_s = load_timeout_s
        self._cache = cache
        self._niceness = niceness
        self._environment = environment
        self._process: EngineProcess | None = None
        self._engines: OrderedDict[str, LoadedEngine] = OrderedDict()
        self._dropped: list[str] = []
        self._halved: dict[str, int] = {}
        self._loading: str | None = None
        self._closed = False
        self._lock = threading.Lock()

    def has(self, model: ServedModel) -> bool:
        """Whether a model is loaded."""
        return model.key in self._engines

    def loaded(self) -> list[tuple[str, LoadedEngine]]:
        """The engines in memory, by the model's key."""
        return list(self._engines.items())

    def loading(self) -> list[str]:
        """The key of the model that is being loaded."""
        loading = self._loading
        return [loading] if loading else []

    def batch_size(self, model: ServedModel) -> int:
        """How many frames of a model are predicted at once, at most."""
        return self._batch_sizes(model)[-1]

    def halve(self, model: ServedModel) -> bool:
        """Predict on half as many frames of a model at once from now on; False when it is one already."""
        size = self.batch_size(model)
        if size == 1:
            return False
        self._halved[model.key] = size // 2
        log.warning("batch_halved", digest=model.digest[:12], batch_size=size // 2)
        if self._engines.pop(model.key, None):
            self._dropped.append(model.key)
        return True

    def _batch_sizes(self, model: ServedModel) -> list[int]:
        """What it is compiled for, the largest last: what was chosen, as far as there is memory for it."""
        chosen = [size for size in model.choice.batch_sizes if size <= self._batch_size]
        most = min(self._halved.get(model.key, self._batch_size), max(chosen, default=self._batch_size))
        return sorted({*(size for size in chosen if size < most), most})

    def start(self) -> bool:
        """See that a process lives; True when it is a new one, which need not be ready. Raises EngineLostError."""
        if self._process is not None and self._process.is_alive():
            return False
        self.discard()
        try:
            process = EngineProcess(self._target, niceness=self._niceness, environment=self._environment)
        except OSError as error:
            raise EngineLostError(f"the engine's process cannot start ({error.strerror})") from error
        with self._lock:
            self._process = process
            if self._closed:
                process.kill()
        return True

    def load(self, model: ServedModel) -> None:
        """Have a model in memory, in as large batches as there is memory for.

        Raises InvalidModelPackageError, EngineMissingError, EngineMemoryError; EngineDeathError when the process died
        of this model; EngineLostError when there is no process.
        """
        is_new = self._live()
        if model.key in self._engines:
            self._engines.move_to_end(model.key)
            return
        try:
            self._load(model)
        except EngineDeathError as death:
            if death.begun or is_new:
                raise
            self._live()
            self._load(model)

    def place(self, slot: int, model: ServedModel, start: int, requests: Sequence[FrameRequest]) -> None:
        """Write frames into a slot, from the place `start` of its batch."""
        frames = self._living().slots[slot].array(self._shape(model, self.batch_size(model)))
        for place, request in enumerate(requests, start):
            frames[place] = request.array

    def begin(self, slot: int, model: ServedModel, requests: Sequence[FrameRequest]) -> None:
        """Let the process work on the frames of these requests, the first in a slot; raises EngineDeathError."""
        self._engines.move_to_end(model.key)
        request = {"key": model.key, "slot": slot, "shape": self._shape(model, len(requests))}
        if model.is_explainer:
            request |= {"act": "explain", "findings": [one.findings for one in requests]}
        else:
            request |= {"act": "predict", "explain": [one.explain for one in requests]}
        try:
            self._living().ask(request, self._timeout_s)
        except EngineDeathError as death:
            self._bury(death, model)
            raise

    def finish(self, model: ServedModel, requests: Sequence[FrameRequest]) -> BatchAnswer:
        """Wait for what comes of these requests; raises EngineDeathError, EngineMemoryError."""
        num_values = len(requests) * len(model.contract.findings)
        rows_bytes = 0 if model.is_explainer else num_values * VALUE_BYTES
        rows, columns = self.engine(model).map_shape or (0, 0)
        most_bytes = rows_bytes + num_values * (1 + rows * columns * MAP_BYTES)
        try:
            _, payload = self._living().answer(most_bytes)
            try:
                return _believed(model, requests, payload[:rows_bytes], payload[rows_bytes:], (rows, columns))
            except ValueError as error:
                raise self._living().babbled() from error
        except EngineDeathError as death:
            self._bury(death, model)
            raise

    def predict(self, model: ServedModel, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """One batch from its loading to its probabilities, float32 (batch, findings), with nothing else under way.

        Raises what `load` and `finish` do; EngineMemoryError also where there is no memory for so large a batch any
        more.
        """
        requests = [FrameRequest(model, frame) for frame in frames]
        self.load(model)
        if len(frames) > self.batch_size(model):
            raise EngineMemoryError(f"there is no memory for a batch of {len(frames)} any more")
        self.place(ONLY_SLOT, model, 0, requests)
        self.begin(ONLY_SLOT, model, requests)
        return self.finish(model, requests).probabilities

    def engine(self, model: ServedModel) -> LoadedEngine:
        """What predicts for a model that is loaded."""
        return self._engines[model.key]

    def discard(self) -> None:
        """End the process, if there is one; what was loaded is gone with it."""
        with self._lock:
            process, self._process = self._process, None
        self._engines.clear()
        self._dropped.clear()
        if process is not None:
            process.end()

    def close(self) -> None:
        """End the process, from any thread, and every one that is still to start."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _live(self) -> bool:
        """Have a process that answers; True when it is a new one. Raises EngineLostError."""
        is_new = self.start()
        try:
            self._living().wait_until_ready(START_TIMEOUT_S)
        except EngineDeathError as death:
            self.discard()
            if not self._closed:
                log.error("engine_not_started", how=death.how)  # noqa: TRY400 - the trace says nothing of the child
            evidence = {"signal": death.how, "log": death.log}
            raise EngineLostError(f"the engine's process cannot start: {death.message}", evidence=evidence) from death
        return is_new

    def _living(self) -> EngineProcess:
        if self._process is None:
            raise EngineLostError("the engine's process is gone")
        return self._process

    def _load(self, model: ServedModel) -> None:
        self._loading = model.key
        try:
            while True:
                try:
                    self._engines[model.key] = self._ask_to_load(model)
                except EngineMemoryError:
                    if not self.halve(model):
                        raise
                else:
                    return
        except EngineDeathError as death:
            self._bury(death, model)
            raise
        finally:
            self._loading = None

    def _ask_to_load(self, model: ServedModel) -> LoadedEngine:
        while len(self._engines) >= MAX_ENGINES:
            self._dropped.append(self._engines.popitem(last=False)[0])
        batch_sizes = self._batch_sizes(model)
        request = {
            "act": "load",
            "key": model.key,
            "contract": model.contract.model_dump(mode="json"),
            "weights_path": str(model.weights_path),
            "engine": model.choice.engine,
            "precision": model.choice.precision,
            "batch_sizes": batch_sizes,
            "part_size": model.choice.part_size,
            "cache": str(self._cache),
            "dropped": self._dropped,
        }
        process = self._living()
        process.ask(request, self._load_timeout_s)
        self._dropped = []
        meta, _ = process.answer()
        name, precision = _short(meta.get("name")), _short(meta.get("precision"))
        map_shape = checked_shape(meta.get("map_shape"), len(model.contract.findings))
        at_once = min(model.choice.part_size or batch_sizes[-1], batch_sizes[-1])
        return LoadedEngine(name, precision, at_once, map_shape)

    def _bury(self, death: EngineDeathError, model: ServedModel) -> None:
        if not self._closed:
            doing = "load" if self._loading else "predict"
            log.error("engine_died", how=death.how, digest=model.digest[:12], doing=doing, begun=death.begun)
        self.discard()

    def _shape(self, model: ServedModel, count: int) -> tuple[int, int, int, int]:
        shape = model.contract.input
        return (count, shape.rows, shape.columns, shape.channels)


def _believed(
    model: ServedModel, requests: Sequence[FrameRequest], said: bytes, maps: bytes, map_shape: tuple[int, int]
) -> BatchAnswer:
    """What the process answered; raises ValueError unless it is of the right size, with no maps but those asked for."""
    shape = (len(requests), len(model.contract.findings))
    if model.is_explainer:
        rows, wanted = np.full(shape, np.nan, np.float32), np.zeros(shape, np.bool_)
        for frame, one in enumerate(requests):
            wanted[frame, list(one.findings)] = True
    else:
        rows = np.frombuffer(said, np.float32).reshape(shape)
        wanted = wanted_maps(model.contract, rows, [one.explain for one in requests])
    return BatchAnswer(rows, unpack(maps, wanted, map_shape))


def _short(text: object) -> str:
    return str(text)[:MAX_NAME_LENGTH]
