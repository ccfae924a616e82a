"""The parent's end of a limited child process: starts it, asks it, bounds what it says, and knows how it died."""

import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared import errors
from shared.errors import ChildCrashedError, OverreadError, TransientError
from shared.reasons import Reason
from shared.sandbox.death import TIMEOUT, ChildDeathError, CrashLog, how_it_ended
from shared.sandbox.memory import SharedMemory
from shared.sandbox.niceness import give_way
from shared.sandbox.slots import NUM_SLOTS, Slots
from shared.sandbox.wire import (
    DONE,
    ERROR,
    FRAME,
    MAX_META_BYTES,
    MEMORY,
    READY,
    REPLY,
    REQUEST,
    TAKEN,
    ChildLimits,
    ChildReasons,
    Reply,
)

MAX_MESSAGE_LENGTH = 1000
MAX_CALLS = 2000  # then a child is replaced: codecs leak, and what crept in should not stay
START_TIMEOUT_S = 60.0
LAST_WORDS_S = 1.0
CHUNK_BYTES = 64 * 1024
_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_SINGLE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


class LimitedProcess:
    """One child process that answers one request at a time."""

    def __init__(self, target: str, limits: ChildLimits, reasons: ChildReasons) -> None:
        self._target = target
        self._limits = limits
        self._reasons = reasons
        self.idle = False
        self._calls_left = MAX_CALLS
        self._waited_s = 0.0
        with contextlib.ExitStack() as owned:
            self._memory = SharedMemory.create(writable=False)
            owned.callback(self._memory.close)
            self._crash_log = CrashLog()
            owned.callback(self._crash_log.close)
            self._process = self._start(self._crash_log.writing)
            self._owned = owned.pop_all()
        if limits.niceness:
            give_way(self._process.pid, limits.niceness)
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: PIPE was asked for
        assert self._process.stdout is not None  # noqa: S101 - the same
        self._requests = self._process.stdin.fileno()
        self._answers = self._process.stdout.fileno()
        os.set_blocking(self._requests, False)
        os.set_blocking(self._answers, False)

    def _start(self, crash_log: int) -> "subprocess.Popen[bytes]":
        shared = self._memory.descriptor
        arguments = [self._target, os.getpid(), self._limits.memory_bytes, self._limits.wall_s, shared]
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-B", "-m", "shared.sandbox.child", *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=crash_log,
                pass_fds=[shared],
                env=_clean_environment(),
                bufsize=0,
            )
        finally:
            os.close(crash_log)

    def is_alive(self) -> bool:
        """False when it died since its last answer: whatever ended it, no request did."""
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait for the interpreter and the target's imports; a child that cannot start is no fault of the input."""
        try:
            kind, meta, _ = self._receive(START_TIMEOUT_S)
        except ChildDeathError as error:
            raise TransientError(f"a child process for {self._target} ended at its start: {error.message}") from error
        if kind != READY:
            raise TransientError(
                f"a child process cannot load {self._target}: {meta.get('class')}; expected an installed target",
            )

    def ask(self, request: dict[str, Any], payload_bytes: int = 0) -> Iterator[Reply]:
        """Send a request and give its replies; `idle` is True after the last of them, unless the child is worn out.

        A reply's payload has at most `payload_bytes`.

        Raises what the target raised (an OverreadError), ChildCrashedError where the child could still say what
        went wrong with it, or else ChildDeathError.
        """
        self.idle = False
        slots = Slots(self._memory, payload_bytes)
        slots.get(0, payload_bytes)  # so that there is room before the child writes
        self._send({"call": request, "payload_bytes": payload_bytes})
        for number in itertools.count():
            if number >= NUM_SLOTS:  # whoever asks for this one is done with those before
                self._write(memoryview(TAKEN))
            kind, meta, size = self._receive(self._limits.wall_s)
            if size > (payload_bytes if kind == REPLY else 0):
                raise self._babbled()
            if kind == REPLY:
                yield Reply(meta, slots.get(number, size))
            elif kind == DONE:
                self.idle = self._calls_left > 0
                return
            elif kind == ERROR:
                self.idle = self._calls_left > 0
                raise _raised_in_child(meta)
            else:
                reason = self._reasons.memory if kind == MEMORY else self._reasons.crashed
                raise ChildCrashedError(
                    f"{self._target} failed in its child process with {_class_name(meta)}", reason=reason
                )

    def _send(self, request: dict[str, Any]) -> None:
        data = json.dumps(request).encode()
        if len(data) > MAX_META_BYTES:
            raise ValueError(f"a request of {len(data)} bytes; expected at most {MAX_META_BYTES}")
        self._calls_left -= 1
        self._waited_s = 0.0
        self._write(memoryview(REQUEST.pack(len(data)) + data))

    def _write(self, data: memoryview) -> None:
        try:
            while data:
                self._wait(self._requests, select.POLLOUT, self._limits.wall_s)
                data = data[os.write(self._requests, data) :]
        except BrokenPipeError as error:
            raise self._lost() from error

    def _lost(self) -> ChildDeathError:
        """The error that says how the process ended; only called when it has ended or is ending."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code == -signal.SIGPROF:
            return self._too_slow()
        how = how_it_ended(code)
        message = f"the child process of {self._target} died ({how})"
        return ChildDeathError(message, self._reasons.crashed, how, log=self._crash_log.text(), silent=True)

    def kill(self) -> None:
        """End the process; whoever waits for its answer sees the pipe end."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process, if it lives, and close the pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._owned.close()

    def _receive(self, limit_s: float) -> tuple[bytes, dict[str, Any], int]:
        """Kind, facts, and how many bytes of payload the child says there are."""
        header = self._read(FRAME.size, limit_s)
        kind, meta_bytes, payload_bytes = FRAME.unpack(header)
        if meta_bytes > MAX_META_BYTES:
            raise self._babbled()
        try:
            meta = json.loads(self._read(meta_bytes, limit_s))
        except (ValueError, RecursionError) as error:
            raise self._babbled() from error
        if not isinstance(meta, dict):
            raise self._babbled()
        return kind, meta, payload_bytes

    def _read(self, size: int, limit_s: float) -> bytearray:
        data = bytearray()  # grows with what comes, not with what the child says will come
        while len(data) < size:
            self._wait(self._answers, select.POLLIN, limit_s)
            chunk = os.read(self._answers, min(size - len(data), CHUNK_BYTES))
            if not chunk:
                raise self._lost()
            data += chunk
        return data

    def _wait(self, descriptor: int, event: int, limit_s: float) -> None:
        """Wait until the pipe can be used or has ended."""
        poll = select.poll()
        poll.register(descriptor, event)
        began = time.monotonic()
        left_s = max(0.0, limit_s - self._waited_s)
        ready = poll.poll(left_s * 1000)
        self._waited_s += time.monotonic() - began
        if not ready:
            raise self._too_slow()

    def _too_slow(self) -> ChildDeathError:
        """End it, if that did not happen by its own clock, with time to write where it was."""
        self._process.send_signal(signal.SIGPROF)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS_S)
        self._process.kill()
        message = f"{self._target} took longer than the {self._limits.wall_s:g} s it is allowed"
        return ChildDeathError(message, self._reasons.timeout, TIMEOUT, log=self._crash_log.text())

    def _babbled(self) -> ChildDeathError:
        self._process.kill()
        message = f"the child process of {self._target} broke the protocol or its bounds"
        return ChildDeathError(message, self._reasons.crashed, "broke the protocol")


def _clean_environment() -> dict[str, str]:
    """No token, password or database URL goes to a child; it imports the same code as its parent."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return kept | _SINGLE_THREAD | {"PYTHONPATH": paths}


def _raised_in_child(meta: dict[str, Any]) -> OverreadError:
    """The target's own error, made again here; only classes of our family can come back."""
    found = getattr(errors, _class_name(meta), None)
    family = found if isinstance(found, type) and issubclass(found, OverreadError) else ChildCrashedError
    given = meta.get("context")
    error = family(str(meta.get("message", ""))[:MAX_MESSAGE_LENGTH])
    error.context = given if isinstance(given, dict) else {}
    error.context.pop("evidence", None)  # that is only for this side to give
    if error.context.get("reason") not in list(Reason):
        error.context.pop("reason", None)
    return error


def _class_name(meta: dict[str, Any]) -> str:
    name = str(meta.get("class", ""))
    return name if name.isidentifier() and len(name) <= 80 else "an unnamed error"  # noqa: PLR2004 - a sane name
