"""One run: load and faults for so long, then rest, then the oracle."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from api.cli.chaos.disk import SmallDisk
from api.cli.chaos.inject import Ground, Injector
from api.cli.chaos.ledger import Ledger
from api.cli.chaos.load import MOST_OPEN_SHARDS, Load, Pace
from api.cli.chaos.plan import Kind, kinds_on, plan
from api.cli.chaos.stage import SHARD_ITEMS, Cast, staged
from api.cli.chaos.verdict import ask_oracle
from api.cli.client import Json
from api.cli.errors import ApiError, UnreachableError
from shared.oracle.words import UNREPORTED

LOOK_S = 1.0
# What was acknowledged and is not final so long after the last fault counts as lost.
DRAIN_TIMEOUT_S = 900.0
REPORTS_TIMEOUT_S = 120.0
# The load ends a little before the run, so that as much is asked for as was wanted.
SHARE_OF_LOAD = 0.9
EVERY_S = 4.0
# A machine that is too slow for the shards asked for gets so many times as long.
MOST_TIMES_LONGER = 3
OPEN_STATES = ("queued", "running")


@dataclass(frozen=True)
class Wanted:
    """What the user asked for; `shards`: at least so many, 0 for as many as come."""

    cast: Cast
    seconds: float
    shards: int = 0
    every_s: float = EVERY_S

    def lasts(self, elapsed_s: float, submitted: int) -> bool:
        """Longer than asked for where not all of the shards that were asked for are submitted yet."""
        most_s = self.seconds * (MOST_TIMES_LONGER if submitted < self.shards else 1)
        return elapsed_s < most_s


@dataclass
class Chaos:
    """The steps of a run; `tell` hears a line about each, `ledger` keeps what was said and done.

    `disk` is one of the run's own over its data folder, where that can be had.
    """

    wanted: Wanted
    folder: Path
    tell: Callable[[str], None]
    disk: SmallDisk | None = None
    ledger: Ledger = field(default_factory=Ledger)

    def run(self) -> Json:
        """All of it; the oracle's answer."""
        with staged(self.folder, self.wanted.cast, self.disk, self.tell) as ground:
            self._break(ground)
            self._drain(ground)
            return self._judge(ground)

    def _break(self, ground: Ground) -> None:
        began_s = time.monotonic()
        pace = Pace(lambda: self._wants_more(time.monotonic() - began_s), SHARD_ITEMS)
        load = Load(ground.client, self.ledger, self.wanted.cast.seed, pace)
        with load.running(), self._faults(ground) as faults:
            while self.wanted.lasts(elapsed_s := time.monotonic() - began_s, self.ledger.shards) and not faults.done():
                self._look(ground, f"{elapsed_s:.0f} of {self.wanted.seconds:.0f} s")
                ground.system.supervisor.wait(LOOK_S)

    def _wants_more(self, elapsed_s: float) -> bool:
        if not self.wanted.shards:
            return self.ledger.open_shards < MOST_OPEN_SHARDS
        share = min(1.0, elapsed_s / (SHARE_OF_LOAD * self.wanted.seconds))
        return self.ledger.shards < share * self.wanted.shards

    @contextmanager
    def _faults(self, ground: Ground) -> Iterator[Future[None]]:
        """Do faults as long as the block lasts; one that could not be mended ends the run with its error."""
        stopped = Event()
        with ThreadPoolExecutor(1, thread_name_prefix="faults") as pool:
            injecting = pool.submit(self._inject, ground, stopped)
            try:
                yield injecting
            finally:
                stopped.set()
        injecting.result()

    def _inject(self, ground: Ground, stopped: Event) -> None:
        injector = Injector(ground, self.ledger, stopped)
        for planned in plan(self.wanted.cast.seed, self.kinds(), self.wanted.every_s):
            if stopped.wait(planned.wait_s):
                return
            if injector.do(planned):
                self.tell(f"{planned.kind} ({len(self.ledger.faults())} faults)")

    def kinds(self) -> list[Kind]:
        """The faults of this run."""
        return kinds_on(self.wanted.cast.database, has_disk=self.disk is not None)

    def _drain(self, ground: Ground) -> None:
        deadline_s = time.monotonic() + DRAIN_TIMEOUT_S
        while time.monotonic() < deadline_s and _has_open_jobs(ground):
            self._look(ground, "no more faults, waiting for the rest")
            ground.system.supervisor.wait(LOOK_S)

    def _judge(self, ground: Ground) -> Json:
        """The verdict; reports follow their jobs, and are waited for."""
        jobs, faults = self.ledger.write(self.folder)
        deadline_s = time.monotonic() + REPORTS_TIMEOUT_S
        while True:
            self.tell("asking the oracle ...")
            answer = ask_oracle(ground.system.settings, jobs=jobs, faults=faults)
            waits = any(finding["what"] == UNREPORTED for finding in answer["findings"])
            if not waits or time.monotonic() > deadline_s:
                return answer
            ground.system.supervisor.wait(LOOK_S)

    def _look(self, ground: Ground, when: str) -> None:
        try:
            lanes = ground.client.get("/api/v1/queues")["items"]
        except (ApiError, UnreachableError):
            return
        self.ledger.open_shards = sum(lane["queued_shards"] + lane["running_shards"] for lane in lanes)
        jobs, shards, faults = len(self.ledger.jobs()), self.ledger.shards, len(self.ledger.faults())
        self.tell(f"{when}: {jobs} jobs, {shards} shards, {self.ledger.open_shards} of them open, {faults} faults")


def _has_open_jobs(ground: Ground) -> bool:
    try:
        pages = [ground.client.get("/api/v1/jobs", {"state": state, "limit": "1"}) for state in OPEN_STATES]
    except (ApiError, UnreachableError):
        return True
    return any(page["items"] for page in pages)
