"""The child's end: limits first, then imports, then one request after another.

Run as `python -m shared.sandbox.child TARGET PARENT_PID MEMORY_BYTES WALL_S SHARED_DESCRIPTOR`.
"""

import contextlib
import errno
import importlib
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from shared.allocator import keep_memory
from shared.errors import OverreadError
from shared.sandbox.inside import (
    announce,
    end_with_parent,
    next_request,
    send,
    take_pipes,
    tell_where_it_died,
    wait_until_taken,
)
from shared.sandbox.memory import SharedMemory
from shared.sandbox.slots import NUM_SLOTS, Slots
from shared.sandbox.wire import CRASH, DONE, ERROR, MEMORY, READY, REPLY

Replies = Iterator[tuple[dict[str, Any], bytes | memoryview]]
Target = Callable[[dict[str, Any]], Replies]
MAX_OPEN_FILES = 64


def main(target: str, parent_pid: int, memory_bytes: int, wall_s: float, descriptor: int) -> None:
    """Answer requests until the parent closes the pipe or dies."""
    keep_memory()
    memory = SharedMemory(descriptor, writable=True)
    requests, answers, crash_log = take_pipes()
    _limit(memory_bytes)
    tell_where_it_died(crash_log)
    end_with_parent(parent_pid)
    try:
        function = _load(target)
    except Exception as error:  # noqa: BLE001 - whatever the import raised, the parent must hear of it
        send(answers, ERROR, {"class": type(error).__name__})
        return
    send(answers, READY, {})
    while (request := next_request(requests)) is not None:
        signal.setitimer(signal.ITIMER_PROF, wall_s)  # SIGPROF ends a process that used its CPU time
        outbox = _Outbox(Slots(memory, request["payload_bytes"]), requests, answers)
        goes_on = _answer(function(request["call"]), outbox)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if not goes_on:
            return


def _limit(memory_bytes: int) -> None:
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
    ):
        resource.setrlimit(kind, (limit, limit))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us in its own time


def _load(target: str) -> Target:
    module, _, name = target.partition(":")
    function: Target = getattr(importlib.import_module(module), name)
    return function


class _Outbox:
    """Sends what comes of one request; the parent reads payloads at its own pace, and never finds one overwritten."""

    def __init__(self, slots: Slots, requests: int, answers: int) -> None:
        self._slots = slots
        self._requests = requests
        self._answers = answers
        self._number = 0
        self._waited_for = 0

    def reply(self, meta: dict[str, Any], payload: bytes | memoryview) -> None:
        self._wait()
        announce(self._answers, REPLY, meta, self._slots.put(self._number, payload))
        self._number += 1

    def end(self, kind: bytes, meta: dict[str, Any]) -> None:
        self._wait()
        send(self._answers, kind, meta)

    def _wait(self) -> None:
        """Once for each number: what follows a reply that could not be sent has that one's."""
        if self._number >= NUM_SLOTS and self._waited_for < self._number:
            wait_until_taken(self._requests)
            self._waited_for = self._number


def _answer(replies: Replies, outbox: _Outbox) -> bool:
    """Send every reply and how it ended; False when this process should be replaced."""
    try:
        for meta, payload in replies:
            outbox.reply(meta, payload)
    except OverreadError as error:
        outbox.end(ERROR, _describe(error))
        return True
    except MemoryError as error:
        kind, meta = MEMORY, {"class": type(error).__name__}
    except Exception as error:  # noqa: BLE001 - texts of foreign errors can hold patient data: only the class goes
        is_memory = isinstance(error, OSError) and error.errno == errno.ENOMEM  # what `mmap` says of it
        kind, meta = MEMORY if is_memory else CRASH, {"class": type(error).__name__}
    else:
        outbox.end(DONE, {})
        return True
    outbox.end(kind, meta)
    return False


def _describe(error: OverreadError) -> dict[str, Any]:
    plain = (str, int, float, bool)
    context = {key: value for key, value in error.context.items() if isinstance(value, plain)}
    return {"class": type(error).__name__, "message": error.message, "context": context}


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
