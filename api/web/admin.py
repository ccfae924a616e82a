"""The admin's room beside its people: tokens, and the settings."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import request

from api.web.inner import Json, RefusedError, ask, change
from api.web.people import PAGE, fault
from api.web.site import back_to, blueprint, me, page
from shared.states import Scope

TOKENS = "/api/v1/tokens"


@blueprint.get("/admin/tokens")
def get_tokens() -> Any:
    """Tokens, of one name or all, the newest first, and the form that makes one."""
    return _tokens(request.args.get("principal", "").strip())


@blueprint.post("/admin/tokens")
def post_token() -> Any:
    """A new token; its secret is on this answer, and never again."""
    form = request.form
    name = form.get("principal", "").strip()
    wanted: Json = {"principal": name, "name": form.get("name", "").strip(), "scopes": form.getlist("scope")}
    if days := form.get("expires_days", "").strip():
        wanted["expires_days"] = days
    try:
        made = change("POST", TOKENS, wanted)
    except RefusedError as error:
        return _tokens("", **fault(error))
    return _tokens(made["principal"], made=made)


@blueprint.post("/admin/tokens/<uuid:token_id>/revoke")
def post_revoke(token_id: UUID) -> Any:
    """The token and the sessions that it began are over; back to the list as it was filtered."""
    change("DELETE", f"{TOKENS}/{token_id}")
    of = request.form.get("principal", "")
    return back_to(f"/admin/tokens?{urlencode({'principal': of})}" if of else "/admin/tokens")


@blueprint.get("/admin/settings")
def get_settings() -> Any:
    """The settings as they are in force."""
    return page("settings.html", settings=ask("/api/v1/settings")["items"])


def _tokens(principal: str, **told: Any) -> Any:
    chosen = {"principal": principal, "cursor": request.args.get("cursor", "")}
    found = ask(TOKENS, limit=PAGE, **chosen)
    return page(
        "tokens.html",
        tokens=found["items"],
        next_cursor=found["next"],
        chosen=chosen,
        mine=me()["token"],
        scopes=tuple(Scope),
        **told,
    )
