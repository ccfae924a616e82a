"""Proof before speed: each engine against the reference, on the golden set, timed; the fastest good one serves."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import (
    EngineLostError,
    EngineMemoryError,
    EngineMissingError,
    InvalidModelPackageError,
)
from worker.engines.backends import keras_engine_name
from worker.engines.base import BFLOAT16, FLOAT32, OPENVINO, REFERENCE, EngineChoice
from worker.engines.death import KILLED, EngineDeathError
from worker.engines.device import Device
from worker.engines.host import ONLY_SLOT, EngineHost
from worker.engines.mixed import MIXED
from worker.engines.probabilities import PROBABILITY_DECIMALS
from worker.engines.requests import FrameRequest, ServedModel

Frames = NDArray[np.float32]

# At least so many inputs: a golden set smaller than that is filled up with stored images.
MIN_INPUTS = 32
# Sizes of batches that are compiled and timed, as far as the settings allow them.
BATCH_SIZES = (1, 4, 8, 16, 32, 64, 128, 256)
# In parts of these sizes the fastest engine on a CPU is tried again, each on cores of its own.
PART_SIZES = (1, 2, 4, 8)
# Small parts are taken where they are nearly as fast: cores that others keep busy delay them less.
NEARLY = 0.95
# Engines take turns, so that what else the machine does hits all of them; the best round counts.
ROUNDS = 3
ROUND_S = 0.3
MIN_BATCHES = 2

# What an engine can do wrong; what ends the proof as a whole, such as a lost lease, is none of these.
FAILURES = (EngineLostError, EngineMemoryError, EngineMissingError, InvalidModelPackageError, EngineDeathError)


def challengers(device: Device) -> list[EngineChoice]:
    """What is compared with the reference on such a device."""
    on_cpu = [EngineChoice(OPENVINO, FLOAT32), EngineChoice(OPENVINO, BFLOAT16)]
    on_gpu = [EngineChoice(keras_engine_name(), precision) for precision in MIXED]
    return on_cpu + (on_gpu if device.gpu else [])


class Standing(StrEnum):
    """What became of an engine's proof."""

    PASSED = "passed"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


@dataclass
class EngineRow:
    """What one engine showed.

    `max_difference` is the largest distance of its probabilities from the reference's, and for the reference itself
    from those that the package states (null where it states none). `batch_sizes`, in one that serves, are those that
    give a frame the same six decimals. With a `part_size` a batch is computed in parts of so many frames, beside each
    other.
    """

    engine: str
    precision: str
    standing: Standing
    detail: str = ""
    max_difference: float | None = None
    images_per_s: dict[str, float] = field(default_factory=dict)
    load_s: float | None = None
    is_reference: bool = False
    serves: bool = False
    batch_sizes: list[int] = field(default_factory=list)
    part_size: int = 0

    def document(self) -> dict[str, Any]:
        """As it is stored and shown."""
        return asdict(self)


@dataclass(frozen=True)
class Inputs:
    """The golden set: float32 (inputs, rows, columns, channels), and what the package says of the first ones."""

    frames: Frames
    stated: Frames


@dataclass
class _Contender:
    """An engine that is proved: its row, and its answers to all inputs by size of batch."""

    model: ServedModel
    row: EngineRow
    answers: dict[int, Frames] = field(default_factory=dict)

    def reference_answer(self) -> Frames:
        """In the largest batches, in which a reference serves."""
        return self.answers[max(self.answers)]

    def passed(self) -> bool:
        return self.row.standing is Standing.PASSED

    def best_rate(self) -> float:
        return max(self.row.images_per_s.values(), default=0.0)


class Proof:
    """One proof; `on_step` is called between its steps, which may take minutes each, and may end it by raising."""

    def __init__(self, host: EngineHost, model: ServedModel, device: Device, on_step: Callable[[], None]) -> None:
        self._host = host
        self._model = model
        most = device.batch_size
        self._sizes = tuple(sorted({*(size for size in BATCH_SIZES if size < most), most}))
        self._choices = challengers(device)
        self._on_step = on_step

    def run(self, inputs: Inputs) -> list[EngineRow]:
        """A row for each engine, the reference first; one of them serves.

        Raises one of FAILURES when the reference cannot be had.
        """
        reference = self._contender(REFERENCE)
        self._answer(reference, inputs.frames)
        loaded = self._host.engine(reference.model)
        reference.row.engine, reference.row.precision = loaded.name, loaded.precision
        if len(inputs.stated):
            given = reference.reference_answer()[: len(inputs.stated)]
            self._judge(reference.row, _distance(given, inputs.stated), "what the package states")
        challengers = [self._contender(choice) for choice in self._choices]
        for challenger in challengers:
            self._compare(challenger, reference, inputs.frames)
        self._time([one for one in (reference, *challengers) if one.answers], inputs.frames)
        challengers += self._in_parts(challengers, reference, inputs.frames)
        self._choose(reference, challengers)
        return [contender.row for contender in (reference, *challengers)]

    def _contender(self, choice: EngineChoice, sizes: Sequence[int] = ()) -> _Contender:
        model = replace(self._model, choice=replace(choice, batch_sizes=tuple(sizes) or self._sizes))
        row = EngineRow(choice.engine, choice.precision, Standing.PASSED, is_reference=choice == REFERENCE)
        row.part_size = choice.part_size
        return _Contender(model, row)

    def _in_parts(self, challengers: Sequence[_Contender], reference: _Contender, frames: Frames) -> list[_Contender]:
        """The fastest that can compute in parts, once more for each size of them."""
        able = [one for one in challengers if one.row.engine == OPENVINO and one.passed()]
        if not able:
            return []
        whole = max(able, key=_Contender.best_rate)
        most = max(whole.answers)
        choices = [replace(whole.model.choice, part_size=size) for size in PART_SIZES if size < most]
        contenders = [self._contender(choice, [most]) for choice in choices]
        for contender in contenders:
            self._compare(contender, reference, frames)
        self._time([one for one in contenders if one.answers], frames)
        return contenders

    def _answer(self, contender: _Contender, frames: Frames) -> None:
        """Load the engine, and predict on all inputs in each size of batch that there is memory for."""
        self._on_step()
        began = time.monotonic()
        self._host.load(contender.model)
        contender.row.load_s = round(time.monotonic() - began, 3)
        for size in contender.model.choice.batch_sizes:
            while size not in contender.answers and size <= self._host.batch_size(contender.model):
                try:
                    contender.answers[size] = self._answers(contender.model, frames, size)
                except EngineMemoryError:
                    if not self._host.halve(contender.model):
                        raise
        if not contender.answers:
            raise EngineMemoryError("there is no memory for as large a batch as before")
        self._host.load(contender.model)

    def _answers(self, model: ServedModel, frames: Frames, size: int) -> Frames:
        self._on_step()
        return np.concatenate([self._host.predict(model, frames[at : at + size]) for at in range(0, len(frames), size)])

    def _compare(self, challenger: _Contender, reference: _Contender, frames: Frames) -> None:
        """Compare an engine with the reference; whatever goes wrong is told in its row and stops nothing."""
        row = challenger.row
        try:
            self._answer(challenger, frames)
        except FAILURES as error:
            _fail(row, error)
        else:
            wanted = reference.reference_answer()
            self._judge(row, max(_distance(given, wanted) for given in challenger.answers.values()), "the reference's")

    def _judge(self, row: EngineRow, distance: float, of: str) -> None:
        tolerance = self._model.contract.proof.tolerance
        row.max_difference = distance if np.isfinite(distance) else None
        if not distance <= tolerance:
            row.standing = Standing.FAILED
            row.detail = f"a probability is {distance:.2g} away from {of}; {tolerance:g} is allowed"

    def _time(self, contenders: Sequence[_Contender], frames: Frames) -> None:
        """Frames per second of each engine in each size of batch, in turns."""
        broken: set[str] = set()
        turns = [(contender, size) for contender in contenders for size in contender.answers]
        for _, (contender, size) in itertools.product(range(ROUNDS), turns):
            row, model = contender.row, contender.model
            if model.key in broken:
                continue
            self._on_step()
            try:
                rate = self._rate(model, np.resize(frames, (size, *frames.shape[1:])))
            except FAILURES as error:
                _fail(row, error)
                broken.add(model.key)
            else:
                row.images_per_s[str(size)] = max(rate, row.images_per_s.get(str(size), 0.0))

    def _rate(self, model: ServedModel, frames: Frames) -> float:
        self._host.predict(model, frames)
        requests = [FrameRequest(model, frame) for frame in frames]
        num_batches, began = 0, time.monotonic()
        while num_batches < MIN_BATCHES or time.monotonic() - began < ROUND_S:
            self._host.begin(ONLY_SLOT, model, requests)
            self._host.finish(model, requests)
            num_batches += 1
        return round(num_batches * len(frames) / (time.monotonic() - began), 2)

    def _choose(self, reference: _Contender, challengers: Sequence[_Contender]) -> None:
        """Mark the fastest that passed. Where the reference failed nothing can be proved, and it serves."""
        size = max(reference.answers)
        best, rate = reference, reference.row.images_per_s.get(str(size), 0.0)
        passed = [one for one in challengers if one.passed()] if reference.passed() else []
        for challenger in passed:
            if challenger.best_rate() > rate:
                best, rate = challenger, challenger.best_rate()
        in_parts = [one for one in passed if one.row.part_size and one.best_rate() >= NEARLY * rate]
        if best is not reference:
            best = min(in_parts, key=lambda one: one.row.part_size, default=best)
        best.row.serves = True
        best.row.batch_sizes = [size] if best is reference else _equal_sizes(best)


def _fail(row: EngineRow, error: Exception) -> None:
    """Note why an engine failed; raises the error when it is not the engine's failure."""
    if isinstance(error, EngineLostError) or (isinstance(error, EngineDeathError) and error.how == KILLED):
        raise error
    row.standing = Standing.UNAVAILABLE if isinstance(error, EngineMissingError) else Standing.FAILED
    row.detail = str(error)


def _equal_sizes(contender: _Contender) -> list[int]:
    """The fastest size of batch, and the smaller ones in which every input gets the same six decimals."""
    rates = contender.row.images_per_s
    fastest = max(contender.answers, key=lambda size: rates[str(size)])
    answers = {size: answer.round(PROBABILITY_DECIMALS) for size, answer in contender.answers.items()}
    return sorted(
        size for size, answer in answers.items() if size <= fastest and np.array_equal(answer, answers[fastest])
    )


def _distance(given: Frames, wanted: Frames) -> float:
    """The largest distance; infinite where one of them gives no number."""
    distances = np.abs(given.astype(np.float64) - wanted)
    return float(np.nan_to_num(distances, nan=np.inf).max())
