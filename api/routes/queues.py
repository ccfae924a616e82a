"""What waits in each lane, how fast it moves, who works on it; pausing and resuming a lane."""

from typing import Any

from apiflask import APIBlueprint

from api.auth import auth, principal
from api.schemas.operations import PauseWanted, QueueList, QueueShown, WorkerList
from api.services import services
from api.views.queues import lane_shown
from api.views.situation import Situation
from api.views.workers import workers_shown
from shared.db import reading
from shared.errors import ConflictError, NotFoundError
from shared.planning.make import MOST_HINTS
from shared.repositories.audit import add_audit_event
from shared.repositories.lanes import due_up_to, pause_lane, resume_lane
from shared.states import Lane, Scope

blueprint = APIBlueprint("queues", __name__, url_prefix="/api/v1", tag="Queues")


@blueprint.get("/queues")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(QueueList)
@blueprint.doc(summary="See the queues")
def get_queues() -> Any:
    """Depth, oldest age, running shards and throughput of each lane, and what holds it up: a pause, or the broker."""
    with reading(services().engine) as session:
        situation = Situation(session, services())
        return {"items": [lane_shown(session, lane, situation) for lane in Lane]}


@blueprint.post("/queues/<string:lane>/pause")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.input(PauseWanted)
@blueprint.output(QueueShown)
@blueprint.doc(summary="Pause a lane", responses={409: "It is paused already"})
def post_pause(lane: str, json_data: PauseWanted) -> Any:
    """No shard of the lane is claimed any more; what runs is finished, and what is submitted waits."""
    paused = _known(lane)
    with services().unit_of_work() as uow:
        if not pause_lane(uow.session, paused, principal_id=principal().id, reason=json_data.reason):
            raise ConflictError(f"The {paused} lane is paused already; resume it first to give another reason.")
        add_audit_event(uow.session, principal().id, "lane.pause", "lane", paused, reason=json_data.reason)
        return lane_shown(uow.session, paused, Situation(uow.session, services()))


@blueprint.post("/queues/<string:lane>/resume")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.output(QueueShown)
@blueprint.doc(summary="Resume a lane", responses={409: "It is not paused"})
def post_resume(lane: str) -> Any:
    """Shards of the lane are claimed again, at once where workers are idle."""
    resumed = _known(lane)
    with services().unit_of_work() as uow:
        if not resume_lane(uow.session, resumed):
            raise ConflictError(f"The {resumed} lane is not paused.")
        add_audit_event(uow.session, principal().id, "lane.resume", "lane", resumed)
        uow.hint(resumed, due_up_to(uow.session, resumed, MOST_HINTS))
        return lane_shown(uow.session, resumed, Situation(uow.session, services()))


def _known(lane: str) -> Lane:
    if lane not in set(Lane):
        raise NotFoundError(f"There is no such lane; the lanes are {', '.join(Lane)}.")
    return Lane(lane)


@blueprint.get("/workers")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(WorkerList)
@blueprint.doc(summary="See the workers")
def get_workers() -> Any:
    """Live workers: heartbeat, shards in hand, engines loaded and being loaded, memory; and workers gone silent."""
    with reading(services().engine) as session:
        return workers_shown(session, services().settings.lease_s)
