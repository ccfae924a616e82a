"""Keeps the embedded system's services running, and ends them all with itself."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from api.cli.child import Child, Service
from api.cli.errors import StartError

logger = logging.getLogger("overread.supervisor")

POLL_S = 0.1
MOST_DOUBLINGS = 60  # of a wait, long after it is the longest: a service may be started again for weeks
# Someone else's doing, not a service that cannot start: it comes back however often that happens.
OUTSIDE_SIGNALS = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


@dataclass(frozen=True)
class RestartPolicy:
    """How patient the supervisor is."""

    first_wait_s: float = 0.5  # doubles with each death in a row
    longest_wait_s: float = 15.0
    settled_s: float = 10.0  # a service that lived this long has started well
    most_failed_starts: int = 5  # in a row, of a service that never started well; then the whole system ends
    ready_s: float = 60.0  # for a service that others wait for


def describe_end(code: int) -> str:
    """An exit code in words."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


class Keeper:
    """Keeps one service running.

    One that never lived long is set up wrongly, and given up soon. One that did can only have been hit by something
    that passes, such as a full disk or a database that is away: it is started again for as long as that takes.
    """

    def __init__(self, service: Service, logs: Path, policy: RestartPolicy, tell: Callable[[str], None]) -> None:
        self.service = service
        self.child: Child | None = None
        self._logs = logs
        self._policy = policy
        self._tell = tell
        self._deaths = 0
        self._failed_starts = 0
        self._start_at_s = 0.0
        self._is_proven = False

    def tend(self) -> None:
        """Start it, or start it again when it died; raises StartError when that is hopeless."""
        if self.child is None:
            if time.monotonic() >= self._start_at_s:
                self._start()
            return
        code = self.child.exit_code()
        if code is not None:
            self._note_death(describe_end(code), blamed=-code not in OUTSIDE_SIGNALS)
        elif self.child.age_s() > self._policy.settled_s:
            self._note_life()

    def is_ready(self) -> bool:
        """True when it runs and does what the next service needs."""
        return self.child is not None and self.child.exit_code() is None and self.service.is_ready()

    def _start(self) -> None:
        try:
            self.child = Child(self.service, self._logs)
        except OSError as error:
            self._note_death(f"could not be started ({error.strerror})", blamed=True)
        else:
            logger.info("%s started, process %d", self.service.name, self.child.pid)

    def _note_life(self) -> None:
        self._deaths = self._failed_starts = 0
        self._is_proven = True

    def _note_death(self, how: str, *, blamed: bool) -> None:
        if self.child is not None and self.child.age_s() > self._policy.settled_s:
            self._note_life()
        self.child = None
        self._failed_starts += blamed
        if self._failed_starts >= self._policy.most_failed_starts and not self._is_proven:
            raise StartError(self._hopeless(how))
        wait_s = min(self._policy.first_wait_s * 2.0 ** min(self._deaths, MOST_DOUBLINGS), self._policy.longest_wait_s)
        self._deaths += 1
        self._start_at_s = time.monotonic() + wait_s
        self._tell(f"{self.service.name} {how}; starting it again in {wait_s:g} s")

    def _hopeless(self, how: str) -> str:
        log = self._logs / f"{self.service.name}.log"
        times = f"{self._policy.most_failed_starts} times in a row"
        return (
            f"{self.service.name} {how}, {times}; everything was ended. Why is in {log}. {self.service.advice}".strip()
        )


class Supervisor:
    """Starts services in order, each when the one before is ready, and ends them in reverse order.

    One thread does all of it: the kernel ends a child with the thread that started it.
    """

    def __init__(
        self,
        services: Sequence[Service],
        logs: Path,
        *,
        policy: RestartPolicy | None = None,
        on_event: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._policy = policy or RestartPolicy()
        self._on_event = on_event
        self._keepers = [Keeper(service, logs, self._policy, self._tell) for service in services]
        self._running: list[Keeper] = []
        self._stopping = threading.Event()
        self._hurried = threading.Event()
        self._ended = threading.Event()
        self.failure: StartError | None = None
        # A daemon: should the main thread be lost, the interpreter's end is this thread's, and so every child's.
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def pids(self) -> dict[str, int]:
        """The process of each service that runs now."""
        return {keeper.service.name: child.pid for keeper in self._running if (child := keeper.child)}

    def wait(self, timeout_s: float) -> bool:
        """Wait until everything has ended, at most so long; raises StartError when it ended by itself."""
        ended = self._ended.wait(timeout_s)
        if self.failure is not None:
            raise self.failure
        return ended

    def stop(self) -> None:
        """End every service, the last one started first; a second Ctrl-C meanwhile kills at once."""
        self._stopping.set()
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self._hurried.set()
            self._thread.join()

    def _run(self) -> None:
        try:
            for keeper in self._keepers:
                if not self._stopping.is_set():
                    self._running.append(keeper)
                    self._await_ready(keeper)
            while not self._stopping.wait(POLL_S):
                self._tend_all()
        except StartError as error:
            logger.error("%s", error.message)  # noqa: TRY400 - the message says all; a traceback would not help
            self.failure = error
        finally:
            self._end_all()
            self._ended.set()

    def _await_ready(self, keeper: Keeper) -> None:
        deadline_s = time.monotonic() + self._policy.ready_s
        self._tend_all()
        while not self._stopping.is_set() and not keeper.is_ready():
            if time.monotonic() > deadline_s:
                name = keeper.service.name
                raise StartError(f"{name} runs but is not ready after {self._policy.ready_s:g} s; see its log")
            self._stopping.wait(POLL_S)
            self._tend_all()

    def _tend_all(self) -> None:
        for keeper in self._running:
            keeper.tend()

    def _end_all(self) -> None:
        for keeper in reversed(self._running):
            if keeper.child is not None:
                by_itself = keeper.child.stop(self._hurried.is_set)
                logger.info("%s ended%s", keeper.service.name, "" if by_itself else ": it was killed")

    def _tell(self, event: str) -> None:
        logger.warning("%s", event)
        self._on_event(event)
