"""The heartbeat: says that the worker lives and extends the leases of shards that move forward."""

import os
import resource
import threading
import time
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.errors import FencedOutError
from shared.repositories.claims import hold
from shared.repositories.shards import Claim
from shared.repositories.workers import Beat, beat, stop
from worker.runtime import HeldShards, Runtime

log = structlog.get_logger()

BEATS_PER_LEASE = 3
PAGE_BYTES = resource.getpagesize()


class Heartbeat(threading.Thread):
    """Beats until stopped. A shard that does not move is left to recovery although the process lives."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._runtime = runtime
        self._stop = threading.Event()

    def run(self) -> None:
        """Beat every third of a lease; a beat that fails is made up by the next."""
        while True:
            try:
                self.beat()
            except SQLAlchemyError as error:
                log.warning("heartbeat_failed", error=type(error).__name__)
            if self._stop.wait(self._runtime.settings.lease_s / BEATS_PER_LEASE):
                return

    def beat(self) -> None:
        """One beat: the worker's row, then each lease in a transaction of its own."""
        runtime = self._runtime
        with runtime.unit_of_work() as uow:
            beat(
                uow.session,
                runtime.name,
                Beat(
                    lanes=list(runtime.lanes),
                    concurrency=runtime.settings.worker_concurrency,
                    engines=runtime.engines.loaded(),
                    loading=runtime.engines.loading(),
                    rss_bytes=_rss_bytes(),
                ),
            )
        for held in runtime.held():
            for claim in held.claims:
                self._extend(held, claim)

    def _extend(self, held: HeldShards, claim: Claim) -> None:
        if time.monotonic() - held.progress_at > self._runtime.settings.hang_s:
            log.error("shard_hangs", job_id=str(claim.job_id), shard=claim.shard_id)
            return
        try:
            with self._runtime.unit_of_work() as uow:
                hold(uow.session, [claim], self._runtime.settings.lease_s)
        except FencedOutError:
            # The task finds out at its next write; there is nothing to extend.
            pass
        except SQLAlchemyError as error:
            # The next beat makes up for it; the other shards' leases must not wait for that.
            log.warning("lease_not_extended", shard=claim.shard_id, error=type(error).__name__)

    def end(self) -> None:
        """Stop beating and say that the worker left."""
        self._stop.set()
        try:
            with self._runtime.unit_of_work() as uow:
                stop(uow.session, self._runtime.name)
        except SQLAlchemyError as error:
            log.warning("heartbeat_failed", error=type(error).__name__)


def _rss_bytes(pid: int | None = None) -> int:
    """Resident memory of this process and all that it started: the engine and the decode children."""
    folder = Path("/proc") / str(pid or os.getpid())
    try:
        own = int((folder / "statm").read_text().split()[1]) * PAGE_BYTES
        children = [child for task in (folder / "task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return 0  # it ended as it was looked at
    return own + sum(_rss_bytes(int(child)) for child in children)
