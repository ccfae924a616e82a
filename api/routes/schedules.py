"""What is asked for again and again, and when."""

from typing import Any

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from api.auth import auth, principal
from api.paging import integer_cursor, page_of
from api.schemas.base import Page
from api.schemas.schedules import (
    PREVIEW,
    Preview,
    PreviewQuery,
    RunList,
    RunShown,
    ScheduleList,
    SchedulePauseWanted,
    ScheduleShown,
    ScheduleWanted,
)
from api.services import services
from api.views.schedules import local_fires, schedule_shown
from shared.clock import utc_now
from shared.db import database_time, reading
from shared.errors import ConflictError, InvalidRequestError, NotFoundError
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

PREVIEWED = 10

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
        now = database_time(session)
        schedule = Schedule(id=new_id(), created_at=now, **_fields(session, json_data))
        set_next(schedule, first_fire(json_data.cron, json_data.time_zone, now))
        session.add(schedule)
        session.flush()
        add_audit_event(session, schedule.principal_id, "schedule.add", "schedule", schedule.id)
        return schedule_shown(session, schedule), 201


@blueprint.get(f"/{PREVIEW}")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(PreviewQuery, location="query")
@blueprint.output(Preview)
@blueprint.doc(summary="See when a calendar would be due")
def get_preview(query_data: PreviewQuery) -> Any:
    """Before there is a schedule of it: what a clock change does to it shows in the offsets."""
    cron, time_zone = query_data.cron, query_data.time_zone
    return Preview(fires=local_fires(cron, time_zone, first_fire(cron, time_zone, utc_now()), PREVIEWED))


@blueprint.get("/<string:name>")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(ScheduleShown)
@blueprint.doc(summary="See a schedule")
def get_schedule(name: str) -> Any:
    """Its next five moments, and its last run."""
    with reading(services().engine) as session:
        return schedule_shown(session, _known(session, name))


@blueprint.put("/<string:name>")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.input(ScheduleWanted)
@blueprint.output(ScheduleShown)
@blueprint.doc(summary="Change a schedule", responses={409: "It is of another kind"})
def put_schedule(name: str, json_data: ScheduleWanted) -> Any:
    """All of it is as the body says, and its jobs are of whoever changed it last; its runs and a pause stay."""
    if json_data.name != name:
        raise InvalidRequestError("The body names another schedule than the address; a schedule keeps its name.")
    with services().unit_of_work() as uow:
        schedule = _known(uow.session, name, lock=True)
        if json_data.kind != schedule.kind:
            raise ConflictError(f"The schedule is of {schedule.kind}, and stays so: remove it and add another.")
        before = (schedule.cron, schedule.time_zone)
        for field, value in _fields(uow.session, json_data).items():
            setattr(schedule, field, value)
        # A moment that is owed stays owed, unless the calendar is another.
        is_same = before == (schedule.cron, schedule.time_zone)
        now = database_time(uow.session)
        set_next(schedule, schedule.fires_at if is_same else first_fire(schedule.cron, schedule.time_zone, now))
        add_audit_event(uow.session, schedule.principal_id, "schedule.change", "schedule", schedule.id)
        uow.session.flush()
        uow.session.refresh(schedule)
        return schedule_shown(uow.session, schedule)


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


def _fields(session: Session, wanted: ScheduleWanted) -> dict[str, Any]:
    """What a request settles of a schedule's row; raises InvalidRequestError where there is no such model."""
    asked = wanted.training or wanted.job
    resolve_model(session, asked.model)
    told = {"kind": wanted.kind, "request": asked.model_dump(mode="json"), "principal_id": principal().id}
    return wanted.model_dump(exclude={"job", "training"}) | told


def _known(session: Session, name: str, *, lock: bool = False) -> Schedule:
    schedule = schedule_named(session, name, lock=lock)
    if schedule is None:
        raise NotFoundError("There is no such schedule.")
    return schedule
