"""The parent's end of the engine's process: starts it, asks it, bounds what it says, and knows how it died."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import EngineMemoryError, EngineMissingError, InvalidModelPackageError
from shared.sandbox.death import CrashLog, how_it_ended
from shared.sandbox.niceness import give_way
from shared.sandbox.wire import FRAME, REQUEST
from worker.engines.death import TIMEOUT, EngineDeathError
from worker.engines.frames import SharedFrames
from worker.engines.scratch import scratch_folder
from worker.engines.wire import (
    BEGUN,
    DONE,
    MAX_META_BYTES,
    MAX_REQUEST_BYTES,
    MEMORY,
    MISSING,
    READY,
    REFUSED,
)

LAST_WORDS_S = 1.0
END_S = 5.0
CHUNK_BYTES = 64 * 1024
MAX_MESSAGE_LENGTH = 1000
MAX_CLASS_LENGTH = 80
NUM_SLOTS = 2  # one batch is computed while the next is gathered
_INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH")
_INHERITED_KINDS = ("CUDA", "JAX_", "KERAS_", "KMP_", "MKL_", "NVIDIA_", "OMP_", "ONEDNN_", "TF_", "XLA_")


class EngineProcess:
    """One engine process, asked one thing at a time; for one thread, which must live as long as the process."""

    def __init__(self, target: str, *, niceness: int = 0, environment: Mapping[str, str] | None = None) -> None:
        """`environment` has variables that it gets beside those that it inherits."""
        with contextlib.ExitStack() as owned:
            self._crash_log = CrashLog()
            owned.callback(self._crash_log.close)
            self.slots: list[SharedFrames] = []
            for _ in range(NUM_SLOTS):
                self.slots.append(SharedFrames.create(writable=True))
                owned.callback(self.slots[-1].close)
            scratch = owned.enter_context(scratch_folder())
            self._process = self._start(target, child_environment(scratch) | dict(environment or {}))
            self._owned = owned.pop_all()
        if niceness:  # at once: threads that a process makes later are as nice as the one that makes them
            give_way(self._process.pid, niceness)
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: PIPE was asked for
        assert self._process.stdout is not None  # noqa: S101 - the same
        self._requests = self._process.stdin.fileno()
        self._answers = self._process.stdout.fileno()
        for descriptor in (self._requests, self._answers):
            os.set_blocking(descriptor, False)
        self._said = bytearray()
        self._ready = False
        self._begun = False
        self._limit_s = 0.0
        self._deadline = 0.0

    def _start(self, target: str, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        descriptors = [slot.descriptor for slot in self.slots]
        arguments = [target, str(os.getpid()), *map(str, descriptors)]
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.engines.child", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._crash_log.writing,
                pass_fds=descriptors,
                env=environment,
                bufsize=0,
            )
        finally:
            os.close(self._crash_log.writing)

    def is_alive(self) -> bool:
        """False when it ended since its last answer: whatever ended it, no request did."""
        return self._process.poll() is None

    def wait_until_ready(self, limit_s: float) -> None:
        """Wait for the interpreter and the libraries; raises EngineDeathError when they cannot be had."""
        if not self._ready:
            self._allow(limit_s)
            kind, meta, _ = self._receive(0)
            if kind != READY:
                raise self._failed(meta)
            self._ready = True

    def ask(self, request: dict[str, Any], limit_s: float) -> None:
        """Send a request; `answer` waits for what comes of it, at most `limit_s` from now."""
        data = json.dumps(request).encode()
        if len(data) > MAX_REQUEST_BYTES:
            raise InvalidModelPackageError(f"a contract of {len(data)} bytes; expected at most {MAX_REQUEST_BYTES}")
        self._allow(limit_s)
        view = memoryview(REQUEST.pack(len(data)) + data)
        try:
            while view:
                self._wait(self._requests, select.POLLOUT)
                view = view[os.write(self._requests, view) :]
        except BrokenPipeError as error:
            raise self._ended() from error

    def answer(self, most_bytes: int = 0) -> tuple[dict[str, Any], bytes]:
        """The answer to the request just sent, with a payload of at most so many bytes.

        Raises InvalidModelPackageError, EngineMissingError, EngineMemoryError, or EngineDeathError: then this process
        is to be ended.
        """
        kind, meta, payload = self._receive(most_bytes)
        if kind == BEGUN:
            self._begun = True
            kind, meta, payload = self._receive(most_bytes)
        if kind == REFUSED:
            raise InvalidModelPackageError(str(meta.get("message", ""))[:MAX_MESSAGE_LENGTH])
        if kind == MISSING:
            raise EngineMissingError(str(meta.get("message", ""))[:MAX_MESSAGE_LENGTH])
        if kind == MEMORY:
            raise EngineMemoryError("the engine has not enough memory for a batch; use a smaller model or more memory")
        if kind != DONE:
            raise self._failed(meta)
        return meta, payload

    def kill(self) -> None:
        """End the process, from any thread; whoever waits for its answer sees the pipe end."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process, if it lives, and give back all it had."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: nothing more can be done
            self._process.wait(END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._owned.close()

    def _allow(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s
        self._begun = False

    def _receive(self, most_bytes: int) -> tuple[bytes, dict[str, Any], bytes]:
        header = self._read(FRAME.size)
        kind, meta_bytes, payload_bytes = FRAME.unpack(header)
        if meta_bytes > MAX_META_BYTES or payload_bytes > most_bytes:
            raise self.babbled()
        try:
            meta = json.loads(self._read(meta_bytes))
        except (ValueError, RecursionError) as error:
            raise self.babbled() from error
        if not isinstance(meta, dict):
            raise self.babbled()
        return kind, meta, self._read(payload_bytes)

    def _read(self, size: int) -> bytes:
        while len(self._said) < size:
            self._wait(self._answers, select.POLLIN)
            chunk = os.read(self._answers, CHUNK_BYTES)
            if not chunk:
                raise self._ended()
            self._said += chunk
        data = bytes(self._said[:size])
        del self._said[:size]
        return data

    def _wait(self, descriptor: int, event: int) -> None:
        """Wait until the pipe can be used or has ended."""
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, self._deadline - time.monotonic()) * 1000):
            raise self._too_slow()

    def _ended(self) -> EngineDeathError:
        """How it ended; only called when it has closed a pipe, which it does by dying."""
        try:
            how = how_it_ended(self._process.wait(END_S))
        except subprocess.TimeoutExpired:
            how = "closed its pipes"
        return EngineDeathError(
            f"the engine's process died ({how})", how, log=self._crash_log.text(), begun=self._begun
        )

    def _too_slow(self) -> EngineDeathError:
        """Kill it, with time to write where it was."""
        self._process.send_signal(signal.SIGPROF)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS_S)
        self._process.kill()
        message = f"the engine's process was killed when it took longer than the {self._limit_s:g} s it is allowed"
        return EngineDeathError(message, TIMEOUT, log=self._crash_log.text(), begun=self._begun)

    def _failed(self, meta: dict[str, Any]) -> EngineDeathError:
        given = str(meta.get("class", ""))
        name = given if given.isidentifier() and len(given) <= MAX_CLASS_LENGTH else "an unnamed error"
        return EngineDeathError(f"the engine's process failed with {name}", name)

    def babbled(self) -> EngineDeathError:
        """The error for an answer that is none: then this process is to be ended."""
        return EngineDeathError("the engine's process broke the protocol or its bounds", "broke the protocol")


def child_environment(scratch: str) -> dict[str, str]:
    """No token, password or database URL goes to what runs a network; it imports the same code as its parent."""
    kept = {name: os.environ[name] for name in os.environ if name in _INHERITED or name.startswith(_INHERITED_KINDS)}
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return kept | {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", "TMPDIR": scratch}
