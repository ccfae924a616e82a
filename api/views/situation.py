"""What bears on waiting: workers, brakes, counters, broker, lines and paces, each read at most once per request."""

from collections.abc import Collection
from datetime import datetime
from functools import cached_property

from sqlalchemy.orm import Session

from api.services import Services
from shared.db import database_time
from shared.models import LaneBrake, Principal, Shard
from shared.repositories.lanes import brakes
from shared.repositories.pace import Rate, measured
from shared.repositories.shards import shards_ahead
from shared.repositories.tallies import items_queued, shards_in, totals
from shared.repositories.waiting import places
from shared.repositories.workers import live_workers
from shared.states import Lane, ShardState

# In lists a place is looked up among the first shards of its lane; the view of one job counts on.
HEAD_SHARDS = 1000
MOST_SHARDS = 1_000_000


class Situation:
    """How things stand now, for the views of one request."""

    def __init__(self, session: Session, of: Services) -> None:
        self._session = session
        self.now: datetime = database_time(session)
        self.outage = of.broker.outage()
        self.workers = live_workers(session, of.settings.lease_s)
        self.totals = totals(session)
        self.brakes = brakes(session)
        self._places: dict[int, tuple[int, bool]] = {}

    @cached_property
    def rates(self) -> dict[Lane, Rate]:
        """The measured throughput of each lane that has one."""
        return measured(self._session)

    def braked_by(self, brake: LaneBrake) -> str:
        """The name of who paused a lane."""
        return self._session.get_one(Principal, brake.principal_id).name

    def look_up(self, shards: Collection[Shard], *, exact: bool) -> None:
        """Find the places of these in line, counted to the end of it where they must be exact."""
        if exact:
            self._places |= {shard.id: (shards_ahead(self._session, shard, MOST_SHARDS), False) for shard in shards}
            return
        found = places(self._session, shards, HEAD_SHARDS)
        self._places |= {shard_id: (place, place == HEAD_SHARDS) for shard_id, place in found.items()}

    def place(self, shard: Shard) -> tuple[int, bool]:
        """How many queued shards of the lane come before this one that was looked up, and whether there may be more."""
        return self._places[shard.id]

    def items_per_shard(self, lane: Lane) -> float:
        """Open items of a queued shard of the lane, on average."""
        shards = self.totals[shards_in(lane, ShardState.QUEUED)]
        return self.totals[items_queued(lane)] / shards if shards > 0 else 0.0

    def serves(self, lane: Lane) -> bool:
        """True when a live worker serves the lane."""
        return any(lane in worker.lanes for worker in self.workers)

    def is_loading(self, lane: Lane, digest: str) -> bool:
        """True when a worker of the lane still makes this model ready, and none of them has it ready."""
        serving = [worker for worker in self.workers if lane in worker.lanes]
        ready = (str(engine).rpartition("/")[2] for worker in serving for engine in worker.engines)
        loading = (str(short) for worker in serving for short in worker.loading)
        return any(map(digest.startswith, loading)) and not any(map(digest.startswith, ready))
