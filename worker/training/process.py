"""The worker's end of a training process: starts it, hears it, pauses it, and knows how it ended."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shared.errors import EngineLostError
from shared.sandbox.death import CrashLog, how_it_ended
from shared.sandbox.niceness import give_way
from worker.engines.process import child_environment
from worker.training.order import TrainingOrder

# Whatever else there is to do on the machine goes first.
NICENESS = 15
CHUNK_BYTES = 64 * 1024
MAX_LINE_BYTES = 1024 * 1024
ORDER_FILE = "order.json"


def _of_ray() -> dict[str, str]:
    """Where the cluster is, and how to be let in."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_")}


class TrainingProcess:
    """`python -m worker.training.driver`; killed when the block ends, whatever it does."""

    def __init__(self, order: TrainingOrder, folder: Path) -> None:
        """`folder` is the attempt's own, and goes with it."""
        self._pause = order.pause
        path = folder / ORDER_FILE
        path.write_text(order.model_dump_json())
        self._crash_log = CrashLog()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", "-m", "worker.training.driver", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._crash_log.writing,
                env=child_environment(str(folder)) | _of_ray(),
                bufsize=0,
                # All that it starts is of its group, and goes with it.
                start_new_session=True,
            )
        except OSError as error:
            self._crash_log.close()
            raise EngineLostError(f"the training process cannot start ({error.strerror})") from error
        finally:
            os.close(self._crash_log.writing)
        give_way(self._process.pid, NICENESS)
        self._said = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
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
        """Have it wait before its next step, or go on; where the disk is full it goes on."""
        if not paused:
            self._pause.unlink(missing_ok=True)
            return
        with contextlib.suppress(OSError):
            self._pause.touch()

    def _kill(self) -> None:
        """End the process and its group; before it is waited for, so that the number is still its own."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _ended(self) -> EngineLostError:
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._kill()
        how = how_it_ended(self._process.wait())
        return EngineLostError(
            f"the training process ended by {how}", evidence={"signal": how, "log": self._crash_log.text()}
        )
