"""The child's end: limits first, then imports, then one request after another.

Run as `python -m shared.sandbox.child TARGET PARENT_PID MEMORY_BYTES WALL_S`.
"""

import contextlib
import faulthandler
import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from shared.errors import OverreadError
from shared.sandbox.wire import CRASH, DONE, ERROR, FRAME, MEMORY, READY, REPLY, REQUEST

Target = Callable[[dict[str, Any]], Iterator[tuple[dict[str, Any], bytes | memoryview]]]
PARENT_CHECK_S = 0.5
MAX_OPEN_FILES = 64


def main(target: str, parent_pid: int, memory_bytes: int, wall_s: float) -> None:
    """Answer requests until the parent closes the pipe or dies."""
    requests, answers, crash_log = _take_pipes()
    _limit(memory_bytes)
    _tell_where_it_died(crash_log)
    threading.Thread(target=_end_with_parent, args=(parent_pid,), daemon=True).start()
    try:
        function = _load(target)
    except Exception as error:  # noqa: BLE001 - whatever the import raised, the parent must hear of it
        _send(answers, ERROR, {"class": type(error).__name__})
        return
    _send(answers, READY, {})
    while (request := _next_request(requests)) is not None:
        signal.setitimer(signal.ITIMER_PROF, wall_s)  # SIGPROF ends a process that used its CPU time
        goes_on = _answer(function, request, answers)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if not goes_on:
            return


def _take_pipes() -> tuple[int, int, int]:
    """Keep the pipes to ourselves: a codec that prints must not write into the protocol, nor into the crash log."""
    requests, answers, crash_log = os.dup(0), os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    return requests, answers, crash_log


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


def _tell_where_it_died(crash_log: int) -> None:
    """Have the stack written when a signal ends us: positions in code, no values."""
    faulthandler.enable(crash_log, all_threads=False)
    # Used-up CPU time and the parent's patience come as SIGPROF; after the stack was written it ends us as before.
    faulthandler.register(signal.SIGPROF, crash_log, all_threads=False, chain=True)


def _end_with_parent(parent_pid: int) -> None:
    """End when the parent is gone, also by kill -9 and also in the middle of a long decode."""
    while os.getppid() == parent_pid:
        time.sleep(PARENT_CHECK_S)
    os._exit(0)


def _load(target: str) -> Target:
    module, _, name = target.partition(":")
    function: Target = getattr(importlib.import_module(module), name)
    return function


def _answer(function: Target, request: dict[str, Any], answers: int) -> bool:
    """Send every reply and how it ended; False when this process should be replaced."""
    try:
        for meta, payload in function(request):
            _send(answers, REPLY, meta, payload)
    except OverreadError as error:
        _send(answers, ERROR, _describe(error))
        return True
    except MemoryError as error:
        kind, meta = MEMORY, {"class": type(error).__name__}
    except Exception as error:  # noqa: BLE001 - texts of foreign errors can hold patient data: only the class goes
        kind, meta = CRASH, {"class": type(error).__name__}
    else:
        _send(answers, DONE, {})
        return True
    _send(answers, kind, meta)
    return False


def _describe(error: OverreadError) -> dict[str, Any]:
    plain = (str, int, float, bool)
    context = {key: value for key, value in error.context.items() if isinstance(value, plain)}
    return {"class": type(error).__name__, "message": error.message, "context": context}


def _next_request(requests: int) -> dict[str, Any] | None:
    header = _read(requests, REQUEST.size)
    if header is None:
        return None
    data = _read(requests, REQUEST.unpack(header)[0])
    if data is None:
        return None
    request: dict[str, Any] = json.loads(data)
    return request


def _read(descriptor: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(descriptor, size - len(data))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


def _send(answers: int, kind: bytes, meta: dict[str, Any], payload: bytes | memoryview = b"") -> None:
    body = memoryview(payload).cast("B")
    text = json.dumps(meta).encode()
    for part in (memoryview(FRAME.pack(kind, len(text), len(body)) + text), body):
        while part:
            part = part[os.write(answers, part) :]  # noqa: PLW2901 - what is left of the part


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
