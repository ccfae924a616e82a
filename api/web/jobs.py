"""The list of jobs, a job, and what a person does to it."""

from typing import Any
from uuid import UUID

from flask import request

from api.web.bulk import RETRIED, links
from api.web.inner import ask, change
from api.web.site import back_to, blueprint, me, page
from api.web.training import learning
from shared.states import FINAL_JOB_STATES, JobKind, Scope

# The chips above the list, in the order of how soon a person wants to know.
CHIPS = ("running", "queued", "failed", "partial", "done", "cancelled")
FILTERS = ("state", "kind", "priority", "label", "q", "mine", "cursor")
PAGE = 50


@blueprint.get("/jobs")
def get_jobs() -> Any:
    """The newest first; what is chosen stands in the address."""
    chosen = {name: request.args.get(name, "") for name in FILTERS}
    found = ask("/api/v1/jobs", limit=PAGE, **chosen)
    return page(
        "jobs.html",
        jobs=found["items"],
        next_cursor=found["next"],
        chosen=chosen,
        chips=CHIPS,
        counted=ask("/api/v1/jobs/counts"),
        bulk=links(chosen) if Scope.SUBMIT in me()["scopes"] else {},
    )


@blueprint.get("/jobs/<uuid:job_id>")
def get_job(job_id: UUID) -> Any:
    """How it stands and why, what failed of it, and what happened to it."""
    path = f"/api/v1/jobs/{job_id}"
    job = ask(path)
    chosen = {name: request.args.get(name, "") for name in ("state", "reason", "cursor")}
    items = ask(f"{path}/items", limit=PAGE, **chosen)
    is_final = job["state"] in FINAL_JOB_STATES
    may_submit = Scope.SUBMIT in me()["scopes"]
    may_change = may_submit and (job["by"] == me()["name"] or Scope.OPERATE in me()["scopes"])
    is_inference = job["kind"] == JobKind.INFERENCE
    return page(
        "job.html",
        job=job,
        items=items["items"],
        next_cursor=items["next"],
        chosen=chosen,
        history=ask(f"{path}/history", limit=200)["items"],
        learning=learning(job["training"]),
        may_cancel=may_change and not is_final and not job["cancel_requested_at"],
        may_retry=may_change and job["state"] in RETRIED and is_inference,
        reports=ask("/api/v1/reports", job=job_id, limit=PAGE)["items"] if is_inference else [],
        models=ask("/api/v1/models")["items"] if may_submit and is_inference else [],
    )


@blueprint.post("/jobs/<uuid:job_id>/cancel")
def post_cancel(job_id: UUID) -> Any:
    """It is asked to end; what was done stays done."""
    change("POST", f"/api/v1/jobs/{job_id}/cancel")
    return back_to(f"/jobs/{job_id}")


@blueprint.post("/jobs/<uuid:job_id>/retry")
def post_retry(job_id: UUID) -> Any:
    """A new job tries again what failed; on to that."""
    made = change("POST", f"/api/v1/jobs/{job_id}/retry")
    return back_to(f"/jobs/{made['id']}")


@blueprint.post("/jobs/<uuid:job_id>/rerun")
def post_rerun(job_id: UUID) -> Any:
    """A new job asks another model about the same images, as soon and as explained as this one; on to that."""
    job = ask(f"/api/v1/jobs/{job_id}")
    kept = {name: job[name] for name in ("priority", "label", "explain")}
    made = change("POST", "/api/v1/jobs", kept | {"jobs": [str(job_id)], "model": request.form.get("model", "")})
    return back_to(f"/jobs/{made['id']}")
