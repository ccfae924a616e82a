"""What is asked for again and again, and when."""

from typing import Any

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from api.auth import auth, principal
from api.paging import integer_cursor, page_of
from api.schemas.base import Page
from api.schemas.schedules import RunList, RunShown, ScheduleList, SchedulePauseWanted, ScheduleShown, ScheduleWanted
from api.services import services
from api.views.schedules import schedule_shown
from shared.db import database_time, reading
from shared.errors import ConflictError, NotFoundError
from shared.identifiers import new_id
from shared.models import Schedule, ScheduleRun
from shared.planning.plan import resolve_model
from shared.repositories.audit import add_audit_event
from shared.repositories.schedules import (
    first_fire,
    last_runs,
    list_schedules,
    schedule_named,
    set_next,
    waiting_run,
)
from shared.states import RunOrigin, RunState, Scope

blueprint = APIBlueprint("schedules", __name__, url_prefix="/api/v1/schedules", tag="Schedules")


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(ScheduleList)
@blueprint.doc(summary="List schedules")
def get_schedules() -> Any:
    """Each with its next five moments and its last run."""
    with reading(services().engine) as session:
        return {"items": [schedule_shown(session, one) for one in list_schedules(session)]}


@blueprint.post("")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.input(ScheduleWanted)
@blueprint.output(ScheduleShown, status_code=201)
@blueprint.doc(summary="Add a schedule", responses={409: "There is one of this name"})
def post_schedule(json_data: ScheduleWanted) -> Any:
    """Inference over whatever is new, or a training, as often as the cron expression says.

    A local time that a clock change skips is due once, after it; one that comes twice is due once, the first time.
    """
    with services().unit_of_work() as uow:
        session = uow.session
        if schedule_named(session, json_data.name) is not None:
            raise ConflictError("There is a schedule of this name; remove it first, or choose another name.")
        wanted = json_data.training or json_data.job
        resolve_model(session, wanted.model)
        now = database_time(session)
        schedule = Schedule(
            id=new_id(),
            kind=json_data.kind,
            request=wanted.model_dump(mode="json"),
            principal_id=principal().id,
            created_at=now,
            **json_data.model_dump(exclude={"job", "training"}),
        )
        set_next(schedule, first_fire(json_data.cron, json_data.time_zone, now))
        session.add(schedule)
        session.flush()
        add_audit_event(session, schedule.principal_id, "schedule.add", "schedule", schedule.id)
        return schedule_shown(session, schedule), 201


@blueprint.get("/<string:name>")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(ScheduleShown)
@blueprint.doc(summary="See a schedule")
def get_schedule(name: str) -> Any:
    """Its next five moments, and its last run."""
    with reading(services().engine) as session:
        return schedule_shown(session, _known(session, name))


@blueprint.get("/<string:name>/runs")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(Page, location="query")
@blueprint.output(RunList)
@blueprint.doc(summary="See its runs")
def get_runs(name: str, query_data: Page) -> Any:
    """Every moment at which it was due: fired, skipped or missed, and why."""
    with reading(services().engine) as session:
        before = integer_cursor(query_data.cursor)
        runs = last_runs(session, _known(session, name).id, query_data.limit + 1, before=before)
        return page_of(runs, query_data.limit, RunShown.model_validate, lambda run: str(run.id))


@blueprint.post("/<string:name>/pause")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.input(SchedulePauseWanted)
@blueprint.output(ScheduleShown)
@blueprint.doc(summary="Pause a schedule", responses={409: "It is paused already"})
def post_pause(name: str, json_data: SchedulePauseWanted) -> Any:
    """Nothing is due while it is paused, and nothing is made up for later; what runs goes on."""
    with services().unit_of_work() as uow:
        schedule = _known(uow.session, name, lock=True)
        if schedule.paused_at is not None:
            raise ConflictError("The schedule is paused already; resume it first to give another reason.")
        schedule.paused_at = database_time(uow.session)
        schedule.pause_reason = json_data.reason
        add_audit_event(uow.session, principal().id, "schedule.pause", "schedule", schedule.id, reason=json_data.reason)
        return schedule_shown(uow.session, schedule)


@blueprint.post("/<string:name>/resume")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.output(ScheduleShown)
@blueprint.doc(summary="Resume a schedule", responses={409: "It is not paused"})
def post_resume(name: str) -> Any:
    """It is due at its next moment from now on."""
    with services().unit_of_work() as uow:
        schedule = _known(uow.session, name, lock=True)
        if schedule.paused_at is None:
            raise ConflictError("The schedule is not paused.")
        now = database_time(uow.session)
        schedule.paused_at, schedule.pause_reason = None, ""
        set_next(schedule, first_fire(schedule.cron, schedule.time_zone, now))
        add_audit_event(uow.session, principal().id, "schedule.resume", "schedule", schedule.id)
        return schedule_shown(uow.session, schedule)


@blueprint.post("/<string:name>/trigger")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.output(RunShown, status_code=202)
@blueprint.doc(summary="Run a schedule now", responses={409: "A run waits already"})
def post_trigger(name: str) -> Any:
    """The run starts within seconds, or when the job of the run before is over; also of a schedule that is paused."""
    with services().unit_of_work() as uow:
        schedule = _known(uow.session, name, lock=True)
        if waiting_run(uow.session, schedule.id) is not None:
            raise ConflictError("A run of the schedule waits already; it starts when the job before it is over.")
        now = database_time(uow.session)
        told = {"origin": RunOrigin.HAND, "state": RunState.WAITING, "reason": f"triggered by {principal().name}"}
        run = ScheduleRun(schedule_id=schedule.id, fires_at=now, decided_at=now, **told)
        uow.session.add(run)
        uow.session.flush()
        add_audit_event(uow.session, principal().id, "schedule.trigger", "schedule", schedule.id)
        return RunShown.model_validate(run), 202


@blueprint.delete("/<string:name>")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.output({}, status_code=204)
@blueprint.doc(summary="Remove a schedule")
def delete_schedule(name: str) -> Any:
    """It is due no more; its runs stay on record, and its open job goes on."""
    with services().unit_of_work() as uow:
        schedule = _known(uow.session, name, lock=True)
        schedule.removed_at = database_time(uow.session)
        waiting = waiting_run(uow.session, schedule.id)
        if waiting is not None:
            waiting.state, waiting.reason = RunState.SKIPPED, "the schedule was removed"
        add_audit_event(uow.session, principal().id, "schedule.remove", "schedule", schedule.id)
    return ""


def _known(session: Session, name: str, *, lock: bool = False) -> Schedule:
    schedule = schedule_named(session, name, lock=lock)
    if schedule is None:
        raise NotFoundError("There is no such schedule.")
    return schedule
