"""What every child process of ours does at its own end: keeps its pipes, ends with its parent, hears and answers."""

import faulthandler
import json
import os
import signal
import threading
import time
from typing import Any

from shared.sandbox.wire import FRAME, REQUEST, TAKEN

PARENT_CHECK_S = 0.5


def take_pipes() -> tuple[int, int, int]:
    """Requests, answers, crash log: kept to ourselves, so that a library that prints writes into none of them."""
    requests, answers, crash_log = os.dup(0), os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    return requests, answers, crash_log


def tell_where_it_died(crash_log: int) -> None:
    """Have the stack written when a signal ends us: positions in code, no values."""
    faulthandler.enable(crash_log, all_threads=False)
    # Used-up CPU time and the parent's patience come as SIGPROF, which works while C code holds the interpreter; after
    # the stack was written it ends us as before.
    faulthandler.register(signal.SIGPROF, crash_log, all_threads=False, chain=True)


def end_with_parent(parent_pid: int) -> None:
    """From now on, end when the parent is gone, also by kill -9 and also in the middle of long work."""
    threading.Thread(target=_watch, args=(parent_pid,), daemon=True).start()


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(PARENT_CHECK_S)
    os._exit(0)


def next_request(requests: int) -> dict[str, Any] | None:
    """Wait for a request; None when the parent closed the pipe."""
    header = _read(requests, REQUEST.size)
    data = header and _read(requests, REQUEST.unpack(header)[0])
    if not data:
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


def send(answers: int, kind: bytes, meta: dict[str, Any], payload: bytes | memoryview = b"") -> None:
    """Answer with small facts and raw bytes."""
    body = memoryview(payload).cast("B")
    announce(answers, kind, meta, len(body))
    _write(answers, body)


def announce(answers: int, kind: bytes, meta: dict[str, Any], payload_bytes: int) -> None:
    """Answer with small facts, and say how many bytes the payload has that lies elsewhere or follows."""
    text = json.dumps(meta).encode()
    _write(answers, memoryview(FRAME.pack(kind, len(text), payload_bytes) + text))


def wait_until_taken(requests: int) -> None:
    """Wait until the parent is done with one more payload; ends the process when the parent has gone."""
    if _read(requests, len(TAKEN)) is None:
        os._exit(0)


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
