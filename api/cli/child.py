"""One service as a process: how it is started, watched and ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")
MAX_LOG_BYTES = 8 * 1024 * 1024
POLL_S = 0.05


def _nothing() -> None:
    """No preparation is needed."""


def _at_once() -> bool:
    """Ready as soon as it runs."""
    return True


@dataclass(frozen=True)
class Service:
    """What the supervisor keeps running."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    prepare: Callable[[], None] = _nothing  # before every start, so that a wiped folder is there again
    is_ready: Callable[[], bool] = _at_once  # the next service starts when this is true
    grace_s: float = 10.0  # between the request to end and the kill
    advice: str = ""  # what to do when it cannot start


def leashed(command: tuple[str, ...]) -> list[str]:
    """The command, to be run so that it ends when this process (exactly: the calling thread) ends."""
    return [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *command]


def open_log(folder: Path, name: str) -> int:
    """A descriptor that appends to the service's log; a large one is set aside first."""
    path = folder / f"{name}.log"
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


class Child:
    """A running service, leader of its own session: a Ctrl-C at the terminal reaches the supervisor alone."""

    def __init__(self, service: Service, logs: Path) -> None:
        service.prepare()
        self.service = service
        log = open_log(logs, service.name)
        try:
            self._process = subprocess.Popen(
                leashed(service.command),
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        self.pid = self._process.pid
        self._started_at_s = time.monotonic()

    def age_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started_at_s

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it. What it left behind is ended too."""
        if self._process.returncode is not None:
            return self._process.returncode
        # WNOWAIT leaves it unreaped, so that its number still names its group when the group is killed.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self._signal_group(signal.SIGKILL)
        return self._process.wait()

    def stop(self, is_hurried: Callable[[], bool]) -> bool:
        """Ask it to end, wait its grace, then kill it and all it started; True when it went by itself."""
        if self.exit_code() is None:
            self._process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + self.service.grace_s
        while self.exit_code() is None:
            if time.monotonic() > deadline_s or is_hurried():
                self._signal_group(signal.SIGKILL)
                self._process.wait()
                return False
            time.sleep(POLL_S)
        return True

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            # gone already; macOS says EPERM for a group of zombies
            return
