"""Workers as they stand."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from shared.db import database_time
from shared.models import WorkerProcess
from shared.repositories.workers import InHand, in_hand, live_workers, silent_workers

MOST_SHOWN = 10
# Who has been silent for longer is not missed any more.
REMEMBERED_S = 3600.0


def workers_shown(session: Session, silence_s: float) -> dict[str, Any]:
    """Those that live, with what they have in hand, and those that fell silent and are not replaced."""
    now, held, live = database_time(session), in_hand(session), live_workers(session, silence_s)

    def age_s(worker: WorkerProcess) -> float:
        return (now - worker.heartbeat_at).total_seconds()

    return {
        "items": [_worker_shown(worker, age_s(worker), held.get(worker.name, ())) for worker in live],
        "silent": [
            _told(worker, age_s(worker))
            for worker in silent_workers(session, silence_s, REMEMBERED_S)
            if not any(_replaces(other, worker) for other in live)
        ],
    }


def _replaces(other: WorkerProcess, gone: WorkerProcess) -> bool:
    """Whether it began on the same host after the last word of the one that is gone."""
    hosts = {worker.name.rpartition("-")[0] for worker in (other, gone)}
    return len(hosts) == 1 and other.started_at > gone.heartbeat_at


def _told(worker: WorkerProcess, age_s: float) -> dict[str, Any]:
    same = ("name", "lanes", "heartbeat_at")
    return {name: getattr(worker, name) for name in same} | {"heartbeat_age_s": age_s}


def _worker_shown(worker: WorkerProcess, age_s: float, held: Sequence[InHand]) -> dict[str, Any]:
    more = ("concurrency", "engines", "loading", "rss_bytes", "started_at")
    shards = [
        {"id": one.shard_id, "job": one.job_id, "lane": one.lane, "since": one.claimed_at} for one in held[:MOST_SHOWN]
    ]
    told = _told(worker, age_s) | {name: getattr(worker, name) for name in more}
    return told | {"running_shards": len(held), "shards": shards}
