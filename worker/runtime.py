"""What a worker process holds: database, content store, decode children, the engine thread, shards in hand."""

import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine

from shared.config import Settings
from shared.db import make_engine
from shared.errors import OverreadError
from shared.repositories.environments import environment_id
from shared.repositories.shards import Claim
from shared.states import Lane
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork
from worker.engines.device import find_device
from worker.engines.hardware import this_environment, this_hardware
from worker.engines.host import EngineHost
from worker.engines.wire import ENGINES_TARGET
from worker.inference.batch import EngineThread
from worker.inference.company import Company
from worker.inference.decode import Decoder
from worker.inference.room import FrameRoom
from worker.turns import LaneTurns


class StoppingError(OverreadError):
    """The worker was asked to stop; the shards go back to their queue."""


class YieldError(OverreadError):
    """A more urgent lane waits and no thread is free; the shards go back to their queue."""


@dataclass(eq=False)
class HeldShards:
    """Claimed shards of one lane that a thread works on together, and when they last moved forward.

    `begun` are the items on which it began and whose outcome is not committed, each with its shard.
    """

    claims: Sequence[Claim]
    lane: Lane
    progress_at: float = field(default_factory=time.monotonic)
    begun: dict[int, int] = field(default_factory=dict)

    def moved(self) -> None:
        """Note progress: the heartbeat extends the leases only of what moves."""
        self.progress_at = time.monotonic()


class Runtime:
    """Made once per worker process; shared by its task threads."""

    def __init__(self, settings: Settings, engines: EngineThread | None = None) -> None:
        self.settings = settings
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.engine: Engine = make_engine(settings)
        self.store = ContentStore(settings.store_dir)
        self.decoder = Decoder(settings)
        self.device = find_device(settings)
        self.hardware = this_hardware(self.device)
        self.engines = engines or EngineThread(
            batch_size=self.device.batch_size,
            timeout_s=settings.engine_timeout_s,
            load_timeout_s=settings.engine_load_timeout_s,
            cache=settings.engine_cache_dir,
            max_crashes=settings.max_crashes,
            environment=self.device.environment(),
        )
        self._begin(settings)

    def _begin(self, settings: Settings) -> None:
        self.turns = LaneTurns.of_settings(settings)
        served = settings.worker_lanes.split(",")
        self.lanes: Sequence[Lane] = tuple(lane for lane in Lane if lane in served)
        self.room = FrameRoom(settings.frames_memory_bytes)
        self.company = Company()
        # Neither kind of work takes the other's threads.
        self.room_to_infer = threading.BoundedSemaphore(settings.worker_concurrency)
        self.room_to_train = threading.BoundedSemaphore(1)
        self.stopping = threading.Event()
        self._environment_id: int | None = None
        self._held: list[HeldShards] = []
        self._lock = threading.Lock()

    def engine_host(self, *, niceness: int, target: str = ENGINES_TARGET) -> EngineHost:
        """An engine process of the caller's own, beside the one that serves, which goes first."""
        return EngineHost(
            target=target,
            batch_size=self.device.batch_size,
            timeout_s=self.settings.engine_timeout_s,
            load_timeout_s=self.settings.engine_load_timeout_s,
            cache=self.settings.engine_cache_dir,
            niceness=niceness,
            environment=self.device.environment(),
        )

    def unit_of_work(self) -> UnitOfWork:
        """A writing transaction; workers send no hints."""
        return UnitOfWork(self.engine)

    def environment_id(self) -> int:
        """The row of what this process computes in."""
        if self._environment_id is None:
            with self.unit_of_work() as uow:
                self._environment_id = environment_id(uow.session, this_environment(self.hardware))
        return self._environment_id

    def go_on(self) -> None:
        """Raise StoppingError when the worker was asked to stop."""
        if self.stopping.is_set():
            raise StoppingError("the worker is stopping; what it has in hand goes back to its queue")

    def hold(self, claims: Sequence[Claim]) -> HeldShards:
        """Put shards under the heartbeat's care."""
        held = HeldShards(claims, claims[0].lane)
        with self._lock:
            self._held.append(held)
        return held

    def let_go(self, held: HeldShards) -> None:
        """Take shards out of the heartbeat's care."""
        with self._lock:
            self._held.remove(held)

    def held(self) -> list[HeldShards]:
        """The shards in hand now, together as threads work on them."""
        with self._lock:
            return list(self._held)

    def is_full(self) -> bool:
        """True when no thread is free to take another shard."""
        with self._lock:
            inferring = sum(held.lane is not Lane.TRAINING for held in self._held)
        return inferring >= self.settings.worker_concurrency

    def close(self) -> None:
        """End the children and the engine thread."""
        self.decoder.close()
        self.engines.close()
