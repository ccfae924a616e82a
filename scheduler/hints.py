"""The duty: where shards are due and workers idle, tell the queue again."""

import time

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from shared.config import Settings
from shared.db import reading
from shared.queue import HintSender
from shared.repositories.lanes import due_up_to
from shared.repositories.tallies import shards_in, totals
from shared.repositories.workers import live_workers
from shared.states import Lane, ShardState


class Hints:
    """Sends hints; each wakes a thread of a worker, which then goes on until nothing is due."""

    def __init__(self, engine: Engine, hints: HintSender, settings: Settings) -> None:
        self._engine = engine
        self._hints = hints
        self._settings = settings
        self._sent_at: dict[Lane, float] = {}

    def run(self) -> int:
        """Hint every lane that has work for idle workers, at most once in `hint_interval_s`; 0: nothing is pressing."""
        now = time.monotonic()
        with reading(self._engine) as session:
            wanted = {lane: self._wanted(session, lane) for lane in Lane if self._is_time(lane, now)}
        for lane, number in wanted.items():
            if number and self._hints.send(lane, number):
                self._sent_at[lane] = now
        return 0

    def _is_time(self, lane: Lane, now: float) -> bool:
        return now - self._sent_at.get(lane, -self._settings.hint_interval_s) >= self._settings.hint_interval_s

    def _wanted(self, session: Session, lane: Lane) -> int:
        workers = [worker for worker in live_workers(session, self._settings.lease_s) if lane in worker.lanes]
        if not workers:
            return 0
        counts = totals(session)
        running = sum(counts[shards_in(any_lane, ShardState.RUNNING)] for any_lane in Lane)
        idle = sum(worker.concurrency for worker in workers) - running
        # One at least: shards that are held by a worker that died count as running until their leases run out.
        return due_up_to(session, lane, max(idle, 1))
