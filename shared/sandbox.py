"""Limited child processes: hostile bytes are parsed and decoded there, never in a service's own process.

A child is a fresh interpreter (never a fork: the parent may hold TensorFlow and threads) that runs one named
function. Parent and child speak length-prefixed JSON and raw bytes over two pipes, never pickle, because a child
that reads hostile bytes is not trusted. `shared.sandbox_child` is the child's side.
"""

import contextlib
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from shared import errors
from shared.errors import ChildCrashedError, OverreadError, TransientError
from shared.states import Reason

FRAME = struct.Struct(">cIQ")  # kind, bytes of JSON, bytes of payload
READY, REPLY, DONE, ERROR, MEMORY, CRASH = b"+", b"r", b"d", b"e", b"m", b"x"
MAX_META_BYTES = 1024 * 1024
MAX_MESSAGE_LENGTH = 1000
START_TIMEOUT_S = 60.0
CHUNK_BYTES = 1024 * 1024
_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_SINGLE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True)
class ChildLimits:
    """What one child may use; `wall_s` bounds the time a call waits for it, and its CPU time for the call."""

    memory_bytes: int
    wall_s: float
    reply_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True)
class ChildReasons:
    """The reasons recorded when a child is lost, by how it was lost."""

    crashed: Reason
    timeout: Reason
    memory: Reason


@dataclass(frozen=True)
class Reply:
    """One answer of a child: small facts and raw bytes."""

    meta: dict[str, Any]
    payload: bytes | bytearray


class LimitedPool:
    """Runs `target` ("package.module:function") in limited children; started when needed, replaced when they die."""

    def __init__(self, target: str, *, processes: int, limits: ChildLimits, reasons: ChildReasons) -> None:
        self._target = target
        self._limits = limits
        self._reasons = reasons
        self._closed = False
        self._free: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(processes):
            self._free.put(None)
        self._living: set[_Child] = set()
        self._finalizer = weakref.finalize(self, _end_all, self._living)

    def call(self, request: dict[str, Any]) -> Iterator[Reply]:
        """Send one request to a free child, waiting for one, and give its replies as they come.

        Raises what the target raised (an OverreadError), or ChildCrashedError with a reason of this pool. Only the
        time spent waiting for the child counts against its limit, not what the caller does between two replies.
        """
        child = self._free.get()
        try:
            if child is None or not child.accepts(request):
                self._drop(child)
                child = None  # `_start` may fail, and the one dropped must not go back
                child = self._start()
                if not child.accepts(request):
                    raise child.lost()
            yield from child.replies()
        finally:
            if child is not None and (self._closed or not child.idle):
                self._drop(child)
                child = None
            self._free.put(child)

    def close(self) -> None:
        """End every child; a call under way ends as a crash."""
        self._closed = True
        for child in list(self._living):
            child.kill()  # only who holds a child closes its pipes: their numbers may be given out anew
        freed: list[_Child | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                freed.append(self._free.get_nowait())
        for idle in freed:
            self._drop(idle)
            self._free.put(None)  # callers that still wait must wake, and hear that the pool is closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> "_Child":
        if self._closed:
            raise TransientError("the pool of child processes is closed: the service is stopping, try again")
        child = _Child(self._target, self._limits, self._reasons)
        self._living.add(child)
        try:
            child.wait_until_ready()
        except BaseException:
            self._drop(child)
            raise
        return child

    def _drop(self, child: "_Child | None") -> None:
        if child is not None:
            self._living.discard(child)
            child.end()


class _Child:
    """The parent's end of one child process."""

    def __init__(self, target: str, limits: ChildLimits, reasons: ChildReasons) -> None:
        self._target = target
        self._limits = limits
        self._reasons = reasons
        self.idle = False
        self._waited_s = 0.0
        arguments = [target, str(os.getpid()), str(limits.memory_bytes), str(limits.wall_s)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-B", "-m", "shared.sandbox_child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_clean_environment(),
            bufsize=0,
        )
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: PIPE was asked for
        assert self._process.stdout is not None  # noqa: S101 - the same
        self._requests = self._process.stdin.fileno()
        self._answers = self._process.stdout.fileno()
        os.set_blocking(self._requests, False)
        os.set_blocking(self._answers, False)

    def wait_until_ready(self) -> None:
        """Wait for the interpreter and the target's imports; a child that cannot start is no fault of the input."""
        try:
            kind, meta, _ = self._receive(START_TIMEOUT_S)
        except ChildCrashedError as error:
            raise TransientError(f"a child process for {self._target} ended at its start: {error.message}") from error
        if kind != READY:
            raise TransientError(
                f"a child process cannot load {self._target}: {meta.get('class')}; expected an installed target",
            )

    def accepts(self, request: dict[str, Any]) -> bool:
        """Send a request; False when the child died while it was idle."""
        data = json.dumps(request).encode()
        if len(data) > MAX_META_BYTES:
            raise ValueError(f"a request of {len(data)} bytes; expected at most {MAX_META_BYTES}")
        self.idle = False
        self._waited_s = 0.0
        view = memoryview(struct.pack(">I", len(data)) + data)
        try:
            while view:
                self._wait(self._requests, select.POLLOUT, self._limits.wall_s)
                view = view[os.write(self._requests, view) :]
        except BrokenPipeError:
            return False
        return True

    def replies(self) -> Iterator[Reply]:
        """The replies to the request just sent; `idle` is True again only when all of them were taken."""
        while True:
            kind, meta, payload = self._receive(self._limits.wall_s)
            if kind == REPLY:
                yield Reply(meta, payload)
            elif kind == DONE:
                self.idle = True
                return
            elif kind == ERROR:
                self.idle = True
                raise _raised_in_child(meta)
            else:
                reason = self._reasons.memory if kind == MEMORY else self._reasons.crashed
                raise ChildCrashedError(
                    f"{self._target} failed in its child process with {_class_name(meta)}", reason=reason
                )

    def lost(self) -> ChildCrashedError:
        """The error that says how the process ended; only called when it has ended or is ending."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code == -signal.SIGPROF:
            return self._too_slow()
        return ChildCrashedError(
            f"the child process of {self._target} died ({_how_it_died(code)})",
            reason=self._reasons.crashed,
            signal=-code if code < 0 else 0,
        )

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

    def _receive(self, limit_s: float) -> tuple[bytes, dict[str, Any], bytearray]:
        header = self._read(FRAME.size, limit_s)
        kind, meta_bytes, payload_bytes = FRAME.unpack(header)
        if meta_bytes > MAX_META_BYTES or payload_bytes > self._limits.reply_bytes:
            raise self._babbled()
        try:
            meta = json.loads(self._read(meta_bytes, limit_s))
        except (ValueError, RecursionError) as error:
            raise self._babbled() from error
        if not isinstance(meta, dict):
            raise self._babbled()
        return kind, meta, self._read(payload_bytes, limit_s)

    def _read(self, size: int, limit_s: float) -> bytearray:
        data = bytearray()  # grows with what comes, not with what the child says will come
        while len(data) < size:
            self._wait(self._answers, select.POLLIN, limit_s)
            chunk = os.read(self._answers, min(size - len(data), CHUNK_BYTES))
            if not chunk:
                raise self.lost()
            data += chunk
        return data

    def _wait(self, descriptor: int, event: int, limit_s: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        began = time.monotonic()
        left_s = max(0.0, limit_s - self._waited_s)
        ready = poll.poll(left_s * 1000)
        self._waited_s += time.monotonic() - began
        if not ready:
            self._process.kill()
            raise self._too_slow()

    def _too_slow(self) -> ChildCrashedError:
        return ChildCrashedError(
            f"{self._target} took longer than the {self._limits.wall_s:g} s it is allowed",
            reason=self._reasons.timeout,
        )

    def _babbled(self) -> ChildCrashedError:
        self._process.kill()
        return ChildCrashedError(
            f"the child process of {self._target} broke the protocol or its bounds", reason=self._reasons.crashed
        )


def _clean_environment() -> dict[str, str]:
    """No token, password or database URL goes to a child; it imports the same code as its parent."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return kept | _SINGLE_THREAD | {"PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)}


def _raised_in_child(meta: dict[str, Any]) -> OverreadError:
    """The target's own error, made again here; only classes of our family can come back."""
    found = getattr(errors, _class_name(meta), None)
    family = found if isinstance(found, type) and issubclass(found, OverreadError) else ChildCrashedError
    given = meta.get("context")
    error = family(str(meta.get("message", ""))[:MAX_MESSAGE_LENGTH])
    error.context = given if isinstance(given, dict) else {}
    if error.context.get("reason") not in list(Reason):
        error.context.pop("reason", None)
    return error


def _class_name(meta: dict[str, Any]) -> str:
    name = str(meta.get("class", ""))
    return name if name.isidentifier() and len(name) <= 80 else "an unnamed error"  # noqa: PLR2004 - a sane name


def _how_it_died(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _end_all(children: set[_Child]) -> None:
    while children:
        children.pop().end()
