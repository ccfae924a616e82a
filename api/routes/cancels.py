"""Stop many jobs: all that fit a filter."""

from typing import Any

from apiflask import APIBlueprint

from api.auth import auth, own_only, principal
from api.routes.jobs import find_by
from api.schemas.jobs import BulkCancel, CancelWanted
from api.services import services
from shared.clock import utc_now
from shared.db import reading
from shared.repositories.audit import add_audit_event
from shared.repositories.cancels import CancelFilter, count_open, first_open
from shared.repositories.jobs import request_cancel
from shared.states import JobState, Scope

blueprint = APIBlueprint("cancels", __name__, url_prefix="/api/v1/jobs", tag="Cancellations")

MOST_JOBS = 500
OPEN_STATES = (JobState.QUEUED, JobState.RUNNING)


@blueprint.post("/cancel")
@blueprint.auth_required(auth, roles=[Scope.SUBMIT.value])
@blueprint.input(CancelWanted, location="query")
@blueprint.output(BulkCancel)
@blueprint.doc(summary="Cancel many jobs")
def post_bulk_cancel(query_data: CancelWanted) -> Any:
    """Each job that fits, is not over, and was not asked to end yet, as `POST /jobs/{id}/cancel` does.

    At most 500 jobs at once, the oldest first: while `remaining` is not 0, send it again with `created_before` as
    answered. A token without scope `operate` cancels its principal's jobs only. With `dry_run` all is only counted.
    """
    wanted = _filter(query_data)
    told = {"dry_run": query_data.dry_run, "created_before": wanted.created_before}
    if query_data.dry_run:
        with reading(services().engine) as session:
            jobs, items, is_least = count_open(session, wanted)
        return BulkCancel(jobs=jobs, items=items, cancelled=[], remaining=jobs, is_least=is_least, **told)
    with reading(services().engine) as session:
        found = first_open(session, wanted, MOST_JOBS)
    cancelled = {job_id: items for job_id, items in found if _cancel(job_id)}
    with reading(services().engine) as session:
        remaining, _, is_least = count_open(session, wanted)
    items = sum(cancelled.values())
    done = {"jobs": len(cancelled), "items": items, "cancelled": list(cancelled)}
    return BulkCancel(**done, remaining=remaining, is_least=is_least, **told)


def _cancel(job_id: Any) -> bool:
    """In a transaction of its own: no lock of one job is held while those of the next are waited for."""
    with services().unit_of_work() as uow:
        is_open = request_cancel(uow.session, job_id, actor=principal().name)
        if is_open:
            add_audit_event(uow.session, principal().id, "job.cancel", "job", job_id)
    return is_open


def _filter(asked: CancelWanted) -> CancelFilter:
    now = utc_now()
    return CancelFilter(
        states=OPEN_STATES if asked.state is None else (JobState(asked.state),),
        created_before=min(asked.created_before or now, now),
        kind=asked.kind,
        lane=asked.priority,
        label=asked.label,
        found=find_by(asked.q),
        principal_id=own_only(mine=asked.mine),
    )
