"""Where a child puts the payloads of its replies: two places by turns, so that one is read while the next is made."""

from shared.sandbox.memory import SharedMemory

NUM_SLOTS = 2


class Slots:
    """Shared memory for payloads of at most `slot_bytes`, by the number of the reply, from 0."""

    def __init__(self, memory: SharedMemory, slot_bytes: int) -> None:
        self._memory = memory
        self._slot_bytes = slot_bytes

    def put(self, number: int, payload: bytes | memoryview) -> int:
        """Write a payload, and give its length; raises ValueError when it is too long."""
        data = memoryview(payload).cast("B")
        if len(data) > self._slot_bytes:
            raise ValueError(f"a payload of {len(data)} bytes; at most {self._slot_bytes} were asked for")
        if data:
            self._slot(number)[: len(data)] = data
        return len(data)

    def get(self, number: int, size: int) -> memoryview:
        """A payload as it lies there; the child may still change it."""
        return self._slot(number)[:size] if size else memoryview(b"")

    def _slot(self, number: int) -> memoryview:
        start = number % NUM_SLOTS * self._slot_bytes
        return self._memory.view(NUM_SLOTS * self._slot_bytes)[start : start + self._slot_bytes]
