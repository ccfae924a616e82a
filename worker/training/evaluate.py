"""What model versions give for the patients of the holdout, by the reference engine, in a process of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shared.datasets.document import Sample as Listed
from shared.errors import EngineLostError, EngineMemoryError, PermanentError
from shared.model_contract import ModelContract
from shared.reasons import Reason
from worker.engines.death import EngineDeathError
from worker.engines.probabilities import PROBABILITY_DECIMALS
from worker.engines.requests import ServedModel
from worker.runtime import Runtime
from worker.training.patients import Outputs
from worker.training.prepare import OnRead, write_frames
from worker.training.process import NICENESS

Frames = NDArray[np.float32]


class NoProbabilityError(PermanentError):
    """A network gave something for an image that is no probability."""

    reason = Reason.NON_FINITE_PROBABILITY


class Evaluation:
    """The same images for every version that is asked; `on_batch` is called between batches, and may end it by raising.

    The engine's process is killed when the block ends.
    """

    def __init__(
        self, runtime: Runtime, samples: Sequence[Listed], folder: Path, on_read: OnRead, on_batch: Callable[[], None]
    ) -> None:
        """`folder` is a scratch of the attempt: the images lie there as the network takes them."""
        self._runtime, self._samples, self._folder = runtime, samples, folder
        self._on_read, self.on_batch = on_read, on_batch
        self._frames: dict[str, tuple[Frames, list[int]]] = {}
        self._host = runtime.engine_host(niceness=NICENESS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._host.discard()

    def outputs(self, model: ServedModel) -> Outputs:
        """What it gives for every frame.

        Raises EngineLostError when the engine's process died, and PermanentError where this package is at fault.
        """
        frames, counts = self._seen_by(model.contract)
        try:
            rows = self._predict(model, frames)
        except EngineDeathError as death:
            raise EngineLostError(death.message, evidence={"signal": death.how, "log": death.log}) from death
        if not np.isfinite(rows).all():
            raise NoProbabilityError("it gave no probability for an image of the holdout")
        # As they are stored: the last bits depend on the batch, and an answer must not.
        parts = np.split(np.round(rows.astype(np.float64), PROBABILITY_DECIMALS), np.cumsum(counts)[:-1])
        return {sample.sha256: part for sample, part in zip(self._samples, parts, strict=True)}

    def _seen_by(self, contract: ModelContract) -> tuple[Frames, list[int]]:
        """The frames as this package's network takes them, and how many each sample has."""
        view = contract.input.model_dump_json() + contract.preprocess.model_dump_json()
        if view not in self._frames:
            path = self._folder / f"holdout-{len(self._frames)}"
            counts = write_frames(self._runtime, contract, self._samples, path, self._on_read)
            shape = (sum(counts), contract.input.rows, contract.input.columns, contract.input.channels)
            self._frames[view] = np.memmap(path, np.float32, "r", shape=shape), counts
        return self._frames[view]

    def _predict(self, model: ServedModel, frames: Frames) -> Frames:
        rows: list[Frames] = []
        at = 0
        while at < len(frames):
            self.on_batch()
            size = self._host.batch_size(model)
            try:
                rows.append(self._host.predict(model, frames[at : at + size]))
            except EngineMemoryError:
                if not self._host.halve(model):
                    raise
            else:
                at += size
        return np.concatenate(rows)
