"""What runs again and again: the list, a schedule, and how one is made or changed."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

from flask import Response, request

from api.web.calendars import body_of, fields_of, preview_of
from api.web.inner import Json, RefusedError, ask, change
from api.web.site import back_to, blueprint, me, page, words
from shared.cron import zone_names
from shared.states import INFERENCE_LANES, Explain, JobKind, ModelState, Overlap, Scope

SCHEDULES = "/api/v1/schedules"
PAGE = 50
# What a form may ask of a schedule, beside removing it.
ACTS = ("pause", "resume", "trigger")
# Of these a person mends the form.
MENDABLE = (409, 422)


@blueprint.get("/schedules")
def get_schedules() -> Any:
    """All of them, each with its next moments and its last run."""
    found = ask(SCHEDULES)["items"]
    return page("schedules.html", schedules=found, local=local, may_operate=_may_operate())


@blueprint.get("/new-schedule")
def get_new_schedule() -> Any:
    """The form."""
    return _form(fields_of(None))


@blueprint.post("/new-schedule")
def post_new_schedule() -> Any:
    """One more, unless only its moments are asked for."""
    return _sent("POST", SCHEDULES, None)


@blueprint.get("/schedules/<string:name>")
def get_schedule(name: str) -> Any:
    """What it will do, what it did and why."""
    schedule = ask(_path(name))
    chosen = {"cursor": request.args.get("cursor", "")}
    runs = ask(f"{_path(name)}/runs", limit=PAGE, **chosen)
    return page(
        "schedule.html",
        schedule=schedule,
        runs=runs["items"],
        next_cursor=runs["next"],
        chosen=chosen,
        local=local,
        may_operate=_may_operate(),
    )


@blueprint.get("/schedules/<string:name>/change")
def get_change(name: str) -> Any:
    """The form, filled in as it stands."""
    return _form(fields_of(ask(_path(name))), name)


@blueprint.post("/schedules/<string:name>/change")
def post_change(name: str) -> Any:
    """It is as the form says from now on."""
    return _sent("PUT", _path(name), ask(_path(name)))


@blueprint.post(f"/schedules/<string:name>/<any({', '.join(ACTS)}):act>")
def post_act(name: str, act: str) -> Any:
    """It is paused for a reason, goes on, or runs now."""
    reason = {"reason": request.form.get("reason", "")} if act == "pause" else None
    change("POST", f"{_path(name)}/{act}", reason)
    return back_to(f"/schedules/{quote(name)}")


@blueprint.post("/schedules/<string:name>/remove")
def post_remove(name: str) -> Any:
    """It is due no more."""
    change("DELETE", _path(name))
    return back_to("/schedules")


def local(at: str) -> str:
    """A moment in the schedule's own zone: the day of the week, date, time, offset from UTC."""
    moment = datetime.fromisoformat(at)
    return f"{words().say(f'weekday.{moment.weekday()}')} {moment:%Y-%m-%d %H:%M} {at[19:]}"


def _path(name: str) -> str:
    return f"{SCHEDULES}/{quote(name, safe='')}"


def _may_operate() -> bool:
    return Scope.OPERATE in me()["scopes"]


def _sent(method: str, path: str, schedule: Json | None) -> Response:
    """What was sent is done; where it cannot be, or only its moments were asked for, the form comes back filled in."""
    given = fields_of(schedule) | request.form.to_dict()
    given["every_version"] = request.form.get("every_version", "")
    name = schedule["name"] if schedule else None
    if "look" in given:
        return _form(given, name)
    try:
        change(method, path, body_of(given, schedule))
    except RefusedError as error:
        if error.status not in MENDABLE:
            raise
        return _form(given, name, said=error.problem)
    return back_to(f"/schedules/{quote(given['name'].strip())}")


def _form(given: Json, name: str | None = None, said: Json | None = None) -> Response:
    if not _may_operate():
        raise RefusedError(403, {"detail": words().say("schedules.no_scope")})
    models = [one["name"] for one in ask("/api/v1/models")["items"] if one["state"] == ModelState.CHAMPION]
    return page(
        "schedule_form.html",
        given=given,
        name=name,
        said=said,
        preview=preview_of(given),
        local=local,
        models=[*models, *({given["model"]} - {"", *models})],
        zones=sorted(zone_names()),
        kinds=(JobKind.INFERENCE, JobKind.TRAINING),
        lanes=INFERENCE_LANES,
        overlaps=tuple(Overlap),
        explains=tuple(Explain),
    )
