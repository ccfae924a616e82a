"""Bounds the frames that wait for the engine, over all shards of a worker: memory does not grow with the work."""

import threading


class FrameRoom:
    """Room for so many bytes of decoded frames; one that is larger than all the room goes in alone."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._changed = threading.Condition()

    def take(self, size_bytes: int) -> None:
        """Wait until there is room, and take it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used_bytes or self._used_bytes + size_bytes <= self._max_bytes)
            self._used_bytes += size_bytes

    def give_back(self, size_bytes: int, _future: object = None) -> None:
        """A frame has its answer, or nobody waits for it; may be called when a future is done."""
        with self._changed:
            self._used_bytes -= size_bytes
            self._changed.notify_all()
