"""The duty: where shards are due and workers idle, tell the queue again."""

import time
from collections.abc import Sequence

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from shared.config import Settings
from shared.db import reading
from shared.queue import HintSender
from shared.repositories.lanes import due_up_to
from shared.repositories.shards import running_by_owner
from shared.repositories.workers import live_workers
from shared.states import Lane


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
        lanes = [lane for lane in Lane if self._is_time(lane, now)]
        with reading(self._engine) as session:
            wanted = self._wanted(session, lanes) if lanes else {}
        for lane, number in wanted.items():
            if number and self._hints.send(lane, number):
                self._sent_at[lane] = now
        return 0

    def _is_time(self, lane: Lane, now: float) -> bool:
        return now - self._sent_at.get(lane, -self._settings.hint_interval_s) >= self._settings.hint_interval_s

    def _wanted(self, session: Session, lanes: Sequence[Lane]) -> dict[Lane, int]:
        workers = live_workers(session, self._settings.lease_s)
        running = running_by_owner(session)
        wanted = {}
        for lane in lanes:
            idle = [max(0, one.concurrency - running[one.name]) for one in workers if lane in one.lanes]
            if idle:
                # One at least: a thread can hold many small shards, and others of its worker be idle beside it.
                wanted[lane] = due_up_to(session, lane, max(sum(idle), 1))
        return wanted
