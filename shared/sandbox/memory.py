"""Memory that a process and its child both see: arrays are handed over in it, none goes through a pipe."""

import fcntl
import mmap
import os
from typing import Self


class SharedMemory:
    """A nameless piece of memory, known by its descriptor; only the parent's end makes it larger."""

    def __init__(self, descriptor: int, *, writable: bool, grows: bool = False) -> None:
        self.descriptor = descriptor
        self._protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._grows = grows
        self._memory: mmap.mmap | None = None

    @classmethod
    def create(cls, *, writable: bool) -> Self:
        """The parent's end."""
        descriptor = os.memfd_create("overread-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # Whoever shares it could shrink it under the other's hands, and the other would die of SIGBUS; or seal it, so
        # that it could not be made larger any more.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        return cls(descriptor, writable=writable, grows=True)

    def view(self, size: int) -> memoryview:
        """The first `size` bytes; what was written before stays."""
        if self._memory is None or len(self._memory) < size:
            if self._grows and os.fstat(self.descriptor).st_size < size:
                os.ftruncate(self.descriptor, size)
            # The old mapping goes when the last view of it does.
            self._memory = mmap.mmap(self.descriptor, size, mmap.MAP_SHARED, self._protection)
        return memoryview(self._memory)[:size]

    def close(self) -> None:
        """Close the descriptor; the memory goes when the last who mapped it does."""
        self._memory = None
        os.close(self.descriptor)
