"""People and services in the admin's room: who there is, their roles and passwords, and whether they are let in."""

from typing import Any
from urllib.parse import quote

from flask import request

from api.web.inner import Json, RefusedError, ask, change
from api.web.site import back_to, blueprint, page
from shared.states import Role

PRINCIPALS = "/api/v1/principals"
PAGE = 100
# What is wrong with a form: it is shown again, with what the API said.
FAULTS = frozenset({404, 409, 422})
ROLES = tuple(Role)


@blueprint.get("/admin")
def get_admin() -> Any:
    """Who there is, and the form that adds one."""
    return _people()


@blueprint.post("/admin/people")
def post_person() -> Any:
    """One more; on to what lets them in."""
    name = request.form.get("name", "").strip()
    try:
        made = change("POST", PRINCIPALS, {"name": name, "roles": request.form.getlist("role")})
    except RefusedError as error:
        return _people(**fault(error))
    return back_to(_page_of(made["name"]))


@blueprint.get("/admin/people/<string:name>")
def get_person(name: str) -> Any:
    """What they may do, and the forms that change it."""
    return _person(name)


@blueprint.post("/admin/people/<string:name>/roles")
def post_roles(name: str) -> Any:
    """The roles that are ticked, in place of those before."""
    return _changed(name, {"roles": request.form.getlist("role")})


@blueprint.post("/admin/people/<string:name>/<any(disable, enable):act>")
def post_let_in(name: str, act: str) -> Any:
    """They are let in no more, or again."""
    return _changed(name, {"disabled": act == "disable"})


@blueprint.post("/admin/people/<string:name>/password")
def post_password(name: str) -> Any:
    """They log in with it from now on."""
    try:
        change("PUT", f"{_path(name)}/password", {"password": request.form.get("password", "")})
    except RefusedError as error:
        return _person(name, **fault(error))
    return _person(name, is_set=True)


def fault(error: RefusedError) -> dict[str, Any]:
    """What a form that could not be taken says; raises what is no fault of the form."""
    if error.status not in FAULTS:
        raise error
    return {"said": error.problem, "status": error.status}


def _changed(name: str, wanted: Json) -> Any:
    try:
        change("PATCH", _path(name), wanted)
    except RefusedError as error:
        return _person(name, **fault(error))
    return back_to(_page_of(name))


def _people(**told: Any) -> Any:
    chosen = {"cursor": request.args.get("cursor", "")}
    found = ask(PRINCIPALS, limit=PAGE, **chosen)
    return page("people.html", people=found["items"], next_cursor=found["next"], chosen=chosen, roles=ROLES, **told)


def _person(name: str, **told: Any) -> Any:
    return page("person.html", person=ask(_path(name)), here=_page_of(name), roles=ROLES, **told)


def _path(name: str) -> str:
    return f"{PRINCIPALS}/{quote(name, safe='')}"


def _page_of(name: str) -> str:
    return f"/admin/people/{quote(name, safe='')}"
