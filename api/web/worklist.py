"""The worklist: what is to be done for patients, and what a person does about it."""

from typing import Any
from uuid import UUID

from flask import request
from werkzeug.wrappers import Response

from api.documents.wording import words_in
from api.web.inner import Json, ask, change
from api.web.site import back_to, blueprint, own_path, page, words
from shared.states import FOLLOW_UP_MOVES, FollowUpState

STATES = tuple(FollowUpState)
FILTERS = ("state", "overdue", "patient", "finding", "cursor")
PAGE = 50
WORKLIST = "/api/v1/follow-ups"


@blueprint.get("/worklist")
def get_worklist() -> Any:
    """In the API's order: the urgent first, then what is due first."""
    chosen = {name: request.args.get(name, "") for name in FILTERS}
    found = ask(WORKLIST, limit=PAGE, **chosen)
    return page(
        "worklist.html",
        items=[item | {"moves": FOLLOW_UP_MOVES[FollowUpState(item["state"])]} for item in found["items"]],
        next_cursor=found["next"],
        chosen=chosen,
        states=STATES,
        documents=words_in(words().language),
        here=own_path(request.full_path),
    )


@blueprint.post("/worklist/<uuid:follow_up_id>/acknowledge")
def post_acknowledge(follow_up_id: UUID) -> Any:
    """A person takes it on."""
    return _acted(follow_up_id, "acknowledge", {})


@blueprint.post("/worklist/<uuid:follow_up_id>/postpone")
def post_postpone(follow_up_id: UUID) -> Any:
    """It is due at the beginning of another day, in UTC."""
    return _acted(follow_up_id, "postpone", {"until": f"{request.form.get('until', '')}T00:00:00Z"})


@blueprint.post("/worklist/<uuid:follow_up_id>/close")
def post_close(follow_up_id: UUID) -> Any:
    """It was done, or is not to be done."""
    return _acted(follow_up_id, "close", {})


def _acted(follow_up_id: UUID, act: str, body: Json) -> Response:
    change("POST", f"{WORKLIST}/{follow_up_id}/{act}", body | {"reason": request.form.get("reason", "").strip()})
    return back_to(own_path(request.form.get("next", "/worklist")))
