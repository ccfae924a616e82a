"""What was done, what waited and what failed lately."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apiflask import APIBlueprint

from api.auth import auth
from api.schemas.activity import MOST_COUNTED, Activity, FailureList, FailureShown, LatelyQuery
from api.services import services
from shared.clock import step_of, steps_until_now
from shared.db import reading
from shared.reasons import REASON_TEXTS, failure_of
from shared.repositories.failures import Failed, failed_lately
from shared.repositories.pace import depths_since, done_since
from shared.states import Scope

STEP_S, HOUR_S = 900, 3600

blueprint = APIBlueprint("activity", __name__, url_prefix="/api/v1", tag="Activity")


@blueprint.get("/activity")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(LatelyQuery, location="query")
@blueprint.output(Activity)
@blueprint.doc(summary="See what was done and what waited lately")
def get_activity(query_data: LatelyQuery) -> Any:
    """How many items of all lanes got an outcome in each quarter of an hour, and how many waited at most."""
    steps = steps_until_now(query_data.hours * HOUR_S, STEP_S)
    with reading(services().engine) as session:
        done, depths = done_since(session, steps[0], STEP_S), depths_since(session, steps[0])
    deepest = _deepest(depths)
    return {
        "step_s": STEP_S,
        "looked_at": max(depths, default=None),
        "items": [{"at": at, "items": done[at], "queued": deepest.get(at)} for at in steps],
    }


def _deepest(depths: Mapping[datetime, dict[str, int]]) -> dict[datetime, dict[str, int]]:
    """Of each step that somebody looked in, the minute in which most waited."""
    found: dict[datetime, dict[str, int]] = {}
    for at, queued in depths.items():
        step = step_of(at, STEP_S)
        found[step] = max(found.get(step, queued), queued, key=lambda lanes: sum(lanes.values()))
    return found


@blueprint.get("/failures")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(LatelyQuery, location="query")
@blueprint.output(FailureList)
@blueprint.doc(summary="See what failed lately, by reason")
def get_failures(query_data: LatelyQuery) -> Any:
    """How many items of all jobs failed for each reason, rejected files of jobs among them, and where to look.

    The items themselves are at `/api/v1/jobs/{last_job}/items?state=failed&reason=...`.
    """
    with reading(services().engine) as session:
        found = failed_lately(session, query_data.hours * HOUR_S, MOST_COUNTED)
    counted = sum(one.items for one in found)
    return {"items": [_failure_shown(one) for one in found], "counted": counted, "is_all": counted < MOST_COUNTED}


def _failure_shown(failed: Failed) -> FailureShown:
    return FailureShown(
        reason=failed.reason,
        reason_text=REASON_TEXTS[failed.reason],
        failure=failure_of(failed.reason),
        items=failed.items,
        last_at=failed.last_at,
        last_job=failed.last_job_id,
    )
