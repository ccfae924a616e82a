"""Functions that run in limited child processes: what `shared.sandbox` must bear."""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.errors import ChildCrashedError, LimitExceededError
from shared.reasons import Reason
from shared.sandbox.wire import FRAME, REPLY

Answer = Iterator[tuple[dict[str, Any], bytes]]


def echo(request: dict[str, Any]) -> Answer:
    yield {"pid": os.getpid(), **request}, bytes(request.get("payload_bytes", 0))


def count(request: dict[str, Any]) -> Answer:
    for number in range(request["until"]):
        yield {"pid": os.getpid(), "number": number}, number.to_bytes(4, "big") * 50_000


def refuse(request: dict[str, Any]) -> Answer:
    if request.get("answer_first"):
        yield {}, b""
    raise LimitExceededError("too deep", reason=Reason.NESTED_TOO_DEEP, depth=3000, pid=os.getpid())


def quote_a_patient(request: dict[str, Any]) -> Answer:
    raise ValueError("Doe^Jane 1970-01-01")
    yield {}, b""


def crash(request: dict[str, Any]) -> Answer:
    if request["after"]:
        yield {}, b""
    ctypes.string_at(0)


def crash_at(request: dict[str, Any]) -> Answer:
    """Give five replies, but crash before one of them in each of the first children; each leaves a file behind."""
    folder = Path(request["folder"])
    (folder / str(os.getpid())).touch()
    for number in range(5):
        if number == request["at"] and len(list(folder.iterdir())) <= request["deaths"]:
            ctypes.string_at(0)
        yield {"number": number}, b""


def exit_without_a_word(request: dict[str, Any]) -> Answer:
    os._exit(7)
    yield {}, b""


def crash_with_false_words(request: dict[str, Any]) -> Answer:
    """Write a name and nonsense, more than a pipe holds, into all that can be written, then crash."""
    for descriptor in _descriptors():
        if int(descriptor.name) > 4:  # not the protocol's
            with contextlib.suppress(OSError):
                os.write(int(descriptor.name), b"Doe^Jane\n" * 100 + b"\xff" * 60_000)
    ctypes.string_at(0)
    yield {}, b""


def forge_evidence(request: dict[str, Any]) -> Answer:
    raise ChildCrashedError("not so", evidence="Doe^Jane", reason=Reason.DECODE_CRASHED)
    yield {}, b""


def crash_when_used(request: dict[str, Any], earlier: list[int] = []) -> Answer:  # noqa: B006 - kept on purpose
    if earlier:
        ctypes.string_at(0)
    earlier.append(1)
    yield {"pid": os.getpid()}, b""


def sleep(request: dict[str, Any]) -> Answer:
    yield {"pid": os.getpid()}, b""
    time.sleep(600)


def spin(request: dict[str, Any]) -> Answer:
    while True:
        pass
    yield {}, b""


def hoard(request: dict[str, Any]) -> Answer:
    yield {"held": len(bytearray(request["bytes"]))}, b""


def babble(request: dict[str, Any]) -> Answer:
    for descriptor in range(3, 16):
        try:
            os.write(descriptor, b"\xff" * 64)
        except OSError:
            continue
    yield {}, b""


def claim_a_payload(request: dict[str, Any]) -> Answer:
    """Say that there is more than the shared memory holds."""
    for descriptor in _descriptors():
        with contextlib.suppress(OSError):
            os.write(int(descriptor.name), FRAME.pack(REPLY, 2, 2**40) + b"{}")
    yield {}, b""


def tamper_with_the_memory(request: dict[str, Any]) -> Answer:
    """Try to take the shared memory away from under the parent, and to keep it from growing."""
    for descriptor in _descriptors():
        with contextlib.suppress(OSError):
            os.ftruncate(int(descriptor.name), 0)
        with contextlib.suppress(OSError):
            fcntl.fcntl(int(descriptor.name), fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    yield {}, bytes(request["bytes"])


def grow_too_long(request: dict[str, Any]) -> Answer:
    """Payloads of 7, 8, 9, 10 and then 11 bytes."""
    for size in range(7, 12):
        yield {}, bytes(size)


def say_what_the_file_says(request: dict[str, Any]) -> Answer:
    for answer in Path(request["path"]).read_text().splitlines():
        yield json.loads(answer), b""


def look_around(request: dict[str, Any]) -> Answer:
    os.write(1, b"a codec that prints")
    try:
        Path(request["path"]).write_bytes(b"x")
        written = True
    except OSError:
        written = False
    yield (
        {
            "environment": sorted(os.environ),
            "descriptors": sorted({str(link.readlink()) for link in _descriptors() if link.is_symlink()}),
            "written": written,
            "modules": sorted(sys.modules),
            "ignores_sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        },
        b"",
    )


def _descriptors() -> list[Path]:
    return list(Path("/proc/self/fd").iterdir())


def render_or_crash(request: dict[str, Any]) -> Answer:
    """Pictures of frames as the API makes them, but the second frame kills."""
    from api.dicomweb.rendering import render_in_child

    if request["wanted"]["frame"] == 2:
        ctypes.string_at(0)
    yield from render_in_child(request)
