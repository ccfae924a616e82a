"""Files in, a job out: the page; `submit.js` sends the files straight to the API."""

from typing import Any

from api.web.inner import RefusedError, ask
from api.web.site import blueprint, me, page, words
from shared.states import INFERENCE_LANES, Lane, ModelState, Scope


@blueprint.get("/submit")
def get_submit() -> Any:
    """Where files are dropped, and what becomes of them before anything is queued."""
    if Scope.SUBMIT not in me()["scopes"]:
        raise RefusedError(403, {"detail": words().say("submit.no_scope")})
    models = ask("/api/v1/models")["items"]
    return page(
        "submit.html",
        models=[model for model in models if model["state"] == ModelState.CHAMPION],
        lanes=INFERENCE_LANES,
        usual=Lane.ROUTINE,
        texts=words().group("submit"),
    )
