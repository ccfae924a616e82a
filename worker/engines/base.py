"""The interface between the batches of an inference job and whatever runs the network."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """A loaded model package, ready to predict; safe to call from any thread, one call at a time."""

    @property
    def name(self) -> str:
        """What runs the network; recorded on every prediction."""

    @property
    def precision(self) -> str:
        """The numbers it computes in, such as `float32`; recorded on every prediction."""

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the probabilities of the findings.

        Parameters
        ----------
        batch
            float32 (batch, rows, columns, channels), preprocessed as the contract says.

        Returns
        -------
        float32 (batch, findings), in [0, 1], in the contract's order; a row is NaN where the network gave no
        probabilities for that frame.
        """


def is_memory_exhausted(error: BaseException) -> bool:
    """Whether an engine failed for want of memory: Python's own error, TensorFlow's or torch's."""
    return isinstance(error, MemoryError) or type(error).__name__ in {"ResourceExhaustedError", "OutOfMemoryError"}
