"""A lane as it stands."""

from typing import Any

from sqlalchemy.orm import Session

from api.broker import OK
from api.services import services
from api.views.situation import Situation
from shared.clock import utc_now
from shared.repositories.lanes import oldest_queued_at
from shared.repositories.pace import last_minute
from shared.repositories.tallies import items_queued, shards_in
from shared.states import Lane, ShardState


def lane_shown(session: Session, lane: Lane, situation: Situation) -> dict[str, Any]:
    """What waits in the lane, how fast it moves, and what holds it up."""
    counts = situation.totals
    oldest = oldest_queued_at(session, lane)
    brake = situation.brakes.get(lane)
    by = {"by": situation.braked_by(brake), "at": brake.paused_at, "reason": brake.reason} if brake else None
    return {
        "lane": lane,
        "weight": getattr(services().settings, f"weight_{lane}", None),
        "paused": by,
        "broker": situation.outage.sentence if situation.outage else OK,
        "queued_shards": counts[shards_in(lane, ShardState.QUEUED)],
        "queued_items": counts[items_queued(lane)],
        "running_shards": counts[shards_in(lane, ShardState.RUNNING)],
        "oldest_queued_at": oldest,
        "oldest_age_s": (utc_now() - oldest).total_seconds() if oldest else None,
        "workers": sum(lane in worker.lanes for worker in situation.workers),
        "items_per_s": last_minute(session, lane),
    }
