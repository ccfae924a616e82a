"""What waits in each lane, how fast it moves, and who works on it."""

from datetime import timedelta
from typing import Any

from apiflask import APIBlueprint
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.auth import auth
from api.schemas.operations import QueueList, WorkerList
from api.services import services
from shared.clock import utc_now
from shared.db import reading
from shared.models import Item, Job, Shard, WorkerProcess
from shared.repositories.workers import live_workers
from shared.states import Lane, Scope, ShardState

blueprint = APIBlueprint("queues", __name__, url_prefix="/api/v1", tag="Queues")

THROUGHPUT_WINDOW_S = 60


@blueprint.get("/queues")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(QueueList)
@blueprint.doc(summary="See the queues")
def get_queues() -> Any:
    """Depth, oldest age, running shards and throughput of each lane, from the database: the truth."""
    with reading(services().engine) as session:
        workers = live_workers(session)
        return {"items": [lane_shown(session, lane, workers) for lane in Lane]}


def lane_shown(session: Session, lane: Lane, workers: Any) -> dict[str, Any]:
    """One lane as it stands."""
    queued = session.execute(
        select(func.count(), func.coalesce(func.sum(Shard.items_total), 0), func.min(Shard.created_at)).where(
            Shard.state == ShardState.QUEUED, Shard.lane == lane
        )
    ).one()
    running = select(func.count()).where(Shard.state == ShardState.RUNNING, Shard.lane == lane)
    ended = (
        select(func.count())
        .select_from(Item)
        .join(Job, Job.id == Item.job_id)
        .where(Item.finished_at > utc_now() - timedelta(seconds=THROUGHPUT_WINDOW_S), Job.lane == lane)
    )
    return {
        "lane": lane,
        "queued_shards": queued[0],
        "queued_items": queued[1],
        "running_shards": session.scalar(running),
        "oldest_queued_at": queued[2],
        "oldest_age_s": (utc_now() - queued[2]).total_seconds() if queued[2] else None,
        "workers": sum(lane in worker.lanes for worker in workers),
        "items_per_s": (session.scalar(ended) or 0) / THROUGHPUT_WINDOW_S,
    }


@blueprint.get("/workers")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(WorkerList)
@blueprint.doc(summary="See the workers")
def get_workers() -> Any:
    """Live workers: heartbeat, shards in hand, engines loaded, memory."""
    with reading(services().engine) as session:
        running = select(Shard.owner, func.count()).where(Shard.state == ShardState.RUNNING).group_by(Shard.owner)
        in_hand = dict(session.execute(running).all())
        return {"items": [_worker_shown(worker, in_hand.get(worker.name, 0)) for worker in live_workers(session)]}


def _worker_shown(worker: WorkerProcess, running_shards: int) -> dict[str, Any]:
    return {
        "name": worker.name,
        "lanes": worker.lanes,
        "concurrency": worker.concurrency,
        "engines": worker.engines,
        "rss_bytes": worker.rss_bytes,
        "running_shards": running_shards,
        "started_at": worker.started_at,
        "heartbeat_at": worker.heartbeat_at,
        "heartbeat_age_s": (utc_now() - worker.heartbeat_at).total_seconds(),
    }
