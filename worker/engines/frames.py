"""Room for one batch of frames that the worker and its engine's process both see: no frame goes through a pipe."""

import math

import numpy as np
from numpy.typing import NDArray

from shared.sandbox.memory import SharedMemory


class SharedFrames(SharedMemory):
    """Shared memory as batches of frames; grows when a batch needs more."""

    def array(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The memory as float32 (batch, rows, columns, channels); what was written before stays."""
        size = math.prod(shape) * np.dtype(np.float32).itemsize
        return np.frombuffer(self.view(size), np.float32).reshape(shape)
