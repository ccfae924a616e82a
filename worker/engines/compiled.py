"""A network compiled for a few sizes of batches: what every engine is, whatever compiled it."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.errors import InvalidModelPackageError
from shared.model_contract import ModelContract
from worker.engines.base import is_memory_exhausted
from worker.engines.maps import maps_of_findings
from worker.engines.probabilities import to_probabilities

Frames = NDArray[np.float32]
Found = tuple[Frames, Frames | None]
Run = Callable[[Frames], Found]
RunAll = Callable[[Sequence[Frames]], Iterable[Found]]


def in_turn(runs: Mapping[int, Run]) -> RunAll:
    """Run batches one after the other, each by the function for its size."""
    return lambda batches: (runs[len(batch)](batch) for batch in batches)


class CompiledEngine:
    """A loaded network; see `worker.engines.base.Engine`.

    `run` takes any number of batches, float32 (size, rows, columns, channels), each of one of `sizes`, and gives for
    each in its turn float32 (size, outputs) and, where there is a `map_shape`, the outputs' heat maps, float32 (size,
    outputs, map rows, map columns), both of which it may use again for what follows.
    """

    def __init__(
        self,
        contract: ModelContract,
        sizes: Iterable[int],
        run: RunAll,
        *,
        name: str,
        precision: str,
        map_shape: tuple[int, int] | None = None,
    ) -> None:
        self.name = name
        self.precision = precision
        self.map_shape = map_shape
        self._contract = contract
        self._sizes = sorted(sizes)
        self._run = run
        self._lock = threading.Lock()

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (batch, findings), float32, of frames (batch, rows, columns, channels), float32."""
        return self.predict_with_maps(batch)[0]

    def predict_with_maps(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The same, and the heat maps, float32 (batch, findings, map rows, map columns), where the engine has any."""
        shape = self._contract.input
        expected = (shape.rows, shape.columns, shape.channels)
        if batch.shape[1:] != expected:
            raise ValueError(f"frames of shape {batch.shape[1:]}, expected {expected}; preprocess them first")
        if not len(batch):
            return np.empty((0, len(self._contract.findings)), np.float32), None
        size = self._sizes[-1]
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        with self._lock:
            found = self._run([self._filled(part) for part in parts])
            told = [self._told(len(part), *one) for part, one in zip(parts, found, strict=True)]
        maps = [part for _, part in told if part is not None]
        return np.concatenate([rows for rows, _ in told]), np.concatenate(maps) if maps else None

    def prove(self) -> None:
        """Predict on two made frames; raises InvalidModelPackageError when that fails or the output is misstated."""
        shape = self._contract.input
        noise = np.random.default_rng(0).random((2, shape.rows, shape.columns, shape.channels), np.float32)
        noise[1] *= 100.0
        try:
            good = bool(np.isfinite(self.predict(noise)).all())
        except Exception as error:  # whatever a layer raises, the package is at fault
            if is_memory_exhausted(error):
                raise
            raise InvalidModelPackageError(
                f"the network cannot predict on made frames ({type(error).__name__}: {str(error)[:300]})"
            ) from error
        if not good:
            raise InvalidModelPackageError(
                f"output: {self._contract.output!r} is stated, but on made frames the network gives none; state "
                "'logits' if its last layer is no sigmoid or softmax, and see that its weights hold no NaN"
            )

    def _filled(self, batch: Frames) -> Frames:
        """In the smallest compiled size that holds the batch, filled up."""
        size = next(size for size in self._sizes if size >= len(batch))
        if len(batch) == size:
            return batch
        filled = np.zeros((size, *batch.shape[1:]), np.float32)
        filled[: len(batch)] = batch
        return filled

    def _told(self, count: int, outputs: Frames, maps: Frames | None) -> Found:
        """What the network gave for the first so many frames: probabilities, and the findings' heat maps."""
        if maps is not None:
            maps = maps_of_findings(self._contract, maps[:count].astype(np.float32))
        return to_probabilities(self._contract, outputs[:count]), maps
