"""What is done to all jobs that match a filter: counted first, done when a person has seen the number."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import request

from api.web.inner import change
from api.web.site import blueprint, me, page
from shared.states import JobKind, JobState, Scope

ACTS = ("cancel", "retry")
# What the list can be filtered by, as far as each route knows it.
FILTERS = {
    "cancel": ("state", "kind", "priority", "label", "q", "mine", "created_before"),
    "retry": ("state", "priority", "label", "q", "mine", "created_before"),
}
OPEN_STATES = (JobState.QUEUED, JobState.RUNNING)
RETRIED = frozenset({JobState.FAILED, JobState.PARTIAL, JobState.CANCELLED})
KINDS = ", ".join(ACTS)


@blueprint.get(f"/jobs/<any({KINDS}):act>")
def get_bulk(act: str) -> Any:
    """How many jobs and images it would be, and the button."""
    chosen = _chosen(act, request.args)
    found = change("POST", _path(act, chosen | {"dry_run": "true"}))
    return page("bulk.html", act=act, chosen=chosen, found=found, is_done=False)


@blueprint.post(f"/jobs/<any({KINDS}):act>")
def post_bulk(act: str) -> Any:
    """It is done, to so many as one request takes; what is left, another press of the button."""
    chosen = _chosen(act, request.form)
    found = change("POST", _path(act, chosen))
    return page("bulk.html", act=act, chosen=chosen, found=found, is_done=True)


def links(chosen: dict[str, str]) -> dict[str, str]:
    """Where each act leads from the list, of those that its filter leaves something to do."""
    state, kind = chosen["state"], chosen["kind"]
    fits = {
        "cancel": state in ("", *OPEN_STATES),
        "retry": state in ("", *RETRIED) and kind in ("", JobKind.INFERENCE),
    }
    return {act: f"/jobs/{act}?{urlencode(_fitting(act, chosen))}" for act in ACTS if fits[act]}


def _fitting(act: str, given: Mapping[str, str]) -> dict[str, str]:
    return {name: given[name] for name in FILTERS[act] if given.get(name)}


def _chosen(act: str, given: Mapping[str, str]) -> dict[str, str]:
    """The filter; of who may not operate, the API takes only their own jobs, and the page says so."""
    own = {} if Scope.OPERATE in me()["scopes"] else {"mine": "true"}
    return _fitting(act, given) | own


def _path(act: str, query: dict[str, str]) -> str:
    return f"/api/v1/jobs/{act}?{urlencode(query)}"
