"""The worker's end of a training process: starts it, hears it, pauses it, and knows how it ended."""

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shared.errors import EngineLostError
from shared.sandbox.death import CrashLog, how_it_ended
from shared.sandbox.niceness import give_way
from worker.engines.process import child_environment
from worker.training.order import PAUSE, RESUME

# Whatever else there is to do on the machine goes first.
NICENESS = 15
CHUNK_BYTES = 64 * 1024
MAX_LINE_BYTES = 1024 * 1024


class TrainingProcess:
    """`python -m worker.training.driver`; killed when the block ends, whatever it does."""

    def __init__(self, order: Path) -> None:
        """`order` lies in a folder of the attempt's own, which goes with it."""
        self._crash_log = CrashLog()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", "-m", "worker.training.driver", str(order)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._crash_log.writing,
                env=child_environment(str(order.parent)),
                bufsize=0,
            )
        except OSError as error:
            self._crash_log.close()
            raise EngineLostError(f"the training process cannot start ({error.strerror})") from error
        finally:
            os.close(self._crash_log.writing)
        give_way(self._process.pid, NICENESS)
        self._said = bytearray()
        self._paused = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._crash_log.close()

    def hear(self, wait_s: float) -> list[dict[str, Any]]:
        """The lines that came, after at most so long; raises EngineLostError when the process ended."""
        assert self._process.stdout is not None  # noqa: S101 - for the type checker: PIPE was asked for
        reading = self._process.stdout.fileno()
        if select.select([reading], [], [], wait_s)[0]:
            chunk = os.read(reading, CHUNK_BYTES)
            self._said += chunk
            if not chunk:
                raise self._ended()
        *lines, rest = self._said.split(b"\n")
        self._said = bytearray(rest)
        if len(rest) > MAX_LINE_BYTES:
            raise EngineLostError(f"the training process said a line of over {MAX_LINE_BYTES} bytes")
        return [json.loads(line) for line in lines]

    def pause(self, *, paused: bool) -> None:
        """Have it wait before its next step, or go on."""
        assert self._process.stdin is not None  # noqa: S101 - as above
        if paused != self._paused:
            self._paused = paused
            with contextlib.suppress(BrokenPipeError):  # it ended: `hear` says how
                self._process.stdin.write(f"{PAUSE if paused else RESUME}\n".encode())

    def _ended(self) -> EngineLostError:
        how = how_it_ended(self._process.wait())
        return EngineLostError(
            f"the training process ended by {how}", evidence={"signal": how, "log": self._crash_log.text()}
        )
