"""The admin's room: who there is, their tokens and passwords, and the settings."""

from typing import Any
from urllib.parse import quote
from uuid import UUID

from flask import request

from api.web.inner import Json, RefusedError, ask, change
from api.web.site import back_to, blueprint, me, page
from shared.states import Role, Scope

PRINCIPALS, TOKENS = "/api/v1/principals", "/api/v1/tokens"
PAGE = 100
# What is wrong with a form: it is shown again, with what the API said.
FAULTS = frozenset({404, 409, 422})


@blueprint.get("/admin")
def get_admin() -> Any:
    """Who there is, and the form that sets a password."""
    return _people()


@blueprint.post("/admin/password")
def post_password() -> Any:
    """The principal logs in with it from now on."""
    name = request.form.get("name", "").strip()
    try:
        change("PUT", f"{PRINCIPALS}/{quote(name, safe='')}/password", {"password": request.form.get("password", "")})
    except RefusedError as error:
        return _people(**_fault(error))
    return _people(changed=name)


@blueprint.get("/admin/tokens")
def get_tokens() -> Any:
    """All tokens, the newest first, and the form that makes one."""
    return _tokens()


@blueprint.post("/admin/tokens")
def post_token() -> Any:
    """A new token; its secret is on this answer, and never again."""
    form = request.form
    wanted: Json = {
        "principal": form.get("principal", "").strip(),
        "name": form.get("name", "").strip(),
        "scopes": form.getlist("scope"),
    }
    if "set_roles" in form:
        wanted["roles"] = form.getlist("role")
    if days := form.get("expires_days", "").strip():
        wanted["expires_days"] = days
    try:
        made = change("POST", TOKENS, wanted)
    except RefusedError as error:
        return _tokens(**_fault(error))
    return _tokens(made=made)


@blueprint.post("/admin/tokens/<uuid:token_id>/revoke")
def post_revoke(token_id: UUID) -> Any:
    """The token and the sessions that it began are over."""
    change("DELETE", f"{TOKENS}/{token_id}")
    return back_to("/admin/tokens")


@blueprint.get("/admin/settings")
def get_settings() -> Any:
    """The settings as they are in force."""
    return page("settings.html", settings=ask("/api/v1/settings")["items"])


def _people(**told: Any) -> Any:
    chosen = {"cursor": request.args.get("cursor", "")}
    found = ask(PRINCIPALS, limit=PAGE, **chosen)
    return page("people.html", people=found["items"], next_cursor=found["next"], chosen=chosen, **told)


def _tokens(**told: Any) -> Any:
    chosen = {"cursor": request.args.get("cursor", "")}
    found = ask(TOKENS, limit=PAGE, **chosen)
    return page(
        "tokens.html",
        tokens=found["items"],
        next_cursor=found["next"],
        chosen=chosen,
        mine=me()["token"],
        scopes=[scope.value for scope in Scope],
        roles=[role.value for role in Role],
        **told,
    )


def _fault(error: RefusedError) -> dict[str, Any]:
    if error.status not in FAULTS:
        raise error
    return {"said": error.problem, "status": error.status}
