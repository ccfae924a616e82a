"""Room for one batch of frames that the worker and its engine's process both see: no frame goes through a pipe."""

import fcntl
import math
import mmap
import os

import numpy as np
from numpy.typing import NDArray


class SharedFrames:
    """A nameless piece of memory, known by its descriptor; grows when a batch needs more."""

    def __init__(self, descriptor: int, *, writable: bool) -> None:
        self.descriptor = descriptor
        self._protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._writable = writable
        self._memory: mmap.mmap | None = None

    @classmethod
    def create(cls) -> "SharedFrames":
        """The worker's end, which writes."""
        descriptor = os.memfd_create("overread-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # Whoever shares it could shrink it under the other's hands, and the other would die of SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return cls(descriptor, writable=True)

    def array(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The memory as float32 (batch, rows, columns, channels); what was written before stays."""
        needed = math.prod(shape) * np.dtype(np.float32).itemsize
        if self._memory is None or len(self._memory) < needed:
            if self._writable and os.fstat(self.descriptor).st_size < needed:
                os.ftruncate(self.descriptor, needed)
            # The old mapping goes when the last array over it does.
            self._memory = mmap.mmap(self.descriptor, needed, mmap.MAP_SHARED, self._protection)
        return np.frombuffer(self._memory, np.float32, math.prod(shape)).reshape(shape)

    def close(self) -> None:
        """Close the descriptor; the memory goes when the last who mapped it does."""
        self._memory = None
        os.close(self.descriptor)
