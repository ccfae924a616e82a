"""Files in, a look at what they are, a job out. `submit.js` sends files straight to the API, a plain form by here."""

import hashlib
import json
import secrets
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import request

from api.web.form_of_files import whole_body
from api.web.inner import Json, RefusedError, ask, change, forward
from api.web.site import back_to, blueprint, me, page, words
from shared.states import INFERENCE_LANES, Explain, FileOutcome, Lane, ModelState, Scope

UPLOADS, JOBS = "/api/v1/uploads", "/api/v1/jobs"
PAGE = 50
# It is not the form: who sends it may not, or there is no such upload.
OF_READERS = frozenset({401, 403, 404})
# What is chosen for the job, with what the form begins with.
USUAL = {"model": "", "priority": Lane.ROUTINE.value, "explain": Explain.POSITIVES.value, "label": ""}


@blueprint.get("/submit")
def get_submit() -> Any:
    """Where files are dropped or chosen."""
    return _page(_champions(), upload=None)


@blueprint.get("/submit/<uuid:upload_id>")
def get_upload(upload_id: UUID) -> Any:
    """What arrived, what each file is and what a job would do with it, and the button that queues the job."""
    return _upload_page(upload_id)


@blueprint.post("/submit", defaults={"upload_id": None})
@blueprint.post("/submit/<uuid:upload_id>")
def post_files(upload_id: UUID | None) -> Any:
    """Files of a form go to an upload, as they come in; on to what they are.

    Where the form breaks off, what came before is on the page, with what is wrong.
    """
    upload_id = upload_id or UUID(change("POST", UPLOADS, {})["id"])
    try:
        forward(f"{UPLOADS}/{upload_id}", whole_body())
    except RefusedError as error:
        if error.status in OF_READERS:
            raise
        return _upload_page(upload_id, said=error.problem, status=error.status)
    return back_to(f"/submit/{upload_id}")


def _upload_page(upload_id: UUID, **told: Any) -> Any:
    models = _champions()
    wish = {name: request.args.get(name, usual) for name, usual in USUAL.items()}
    wish["model"] = wish["model"] or next(iter(models), "")
    looked = {name: request.args.get(name, "") for name in ("outcome", "cursor")}
    asked = {"model": wish["model"], "explain": wish["explain"]} if models else {}
    files = ask(f"{UPLOADS}/{upload_id}/files", limit=PAGE, **looked, **asked)
    return _page(
        models,
        upload=upload_id,
        wish=wish,
        looked=looked,
        files=files["items"],
        next_cursor=files["next"],
        counts=files["counts"],
        outcomes=FileOutcome,
        plan=_plan(upload_id, wish) if models and any(files["counts"].values()) else None,
        lanes=INFERENCE_LANES,
        explains=Explain,
        once=secrets.token_hex(16),
        **told,
    )


@blueprint.post("/submit/<uuid:upload_id>/job")
def post_job(upload_id: UUID) -> Any:
    """The job is queued, once however often the button is pressed; or one looks again with what is chosen now."""
    wish = {name: request.form.get(name, usual) for name, usual in USUAL.items()}
    if "look" in request.form:
        return back_to(f"/submit/{upload_id}?{urlencode(wish)}")
    key = hashlib.sha256(json.dumps([request.form.get("once", ""), str(upload_id), wish]).encode()).hexdigest()
    job = change("POST", JOBS, wish | {"uploads": [str(upload_id)]}, headers={"Idempotency-Key": key})
    return back_to(f"/jobs/{job['id']}")


def _page(models: list[str], **values: Any) -> Any:
    return page("submit.html", models=models, texts=words().group("sending"), **values)


def _champions() -> list[str]:
    """The names of the models that serve; raises RefusedError where the session may not submit."""
    if Scope.SUBMIT not in me()["scopes"]:
        raise RefusedError(403, {"detail": words().say("submit.no_scope")})
    return [model["name"] for model in ask("/api/v1/models")["items"] if model["state"] == ModelState.CHAMPION]


def _plan(upload_id: UUID, wish: dict[str, str]) -> Json:
    """How many images a job would have, by what it would do with them."""
    told = change("POST", JOBS, wish | {"uploads": [str(upload_id)], "dry_run": True})
    counts: Json = told["counts"]
    return counts
