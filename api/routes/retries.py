"""Try again what failed: of one job, or of all that fit a filter."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import Response, jsonify

from api.auth import auth, own_only, principal
from api.idempotency import once
from api.intake.retry import Outcome, count_retries, retry_job, retry_jobs
from api.routes.jobs import NOT_OWN, accepted, find_by, find_own_job
from api.schemas.jobs import BulkRetry, JobShown, NotRetried, Retried, RetryWanted
from api.services import services
from shared.clock import utc_now
from shared.db import reading
from shared.errors import ConflictError, InvalidRequestError
from shared.planning.plan import VERSION_NUMBER
from shared.repositories.retries import RetryFilter, retried_reasons
from shared.states import FINAL_JOB_STATES, JobState, Scope
from shared.unit_of_work import UnitOfWork

blueprint = APIBlueprint("retries", __name__, url_prefix="/api/v1/jobs", tag="Retries")

RETRIED_STATES = (JobState.FAILED, JobState.PARTIAL, JobState.CANCELLED)


@blueprint.post("/<uuid:job_id>/retry")
@blueprint.auth_required(auth, roles=[Scope.SUBMIT.value])
@blueprint.output(JobShown, status_code=202)
@blueprint.doc(
    summary="Retry what failed",
    responses={403: NOT_OWN, 409: "It is not over, or nothing of it can be tried again"},
)
def post_retry(job_id: UUID) -> Any:
    """A new job, with `retry_of`, of only what failed or was cancelled, by the same model version.

    Left out is what would fail again the same way: instances that the model does not accept or that have no pixels.
    A token without scope `operate` retries its principal's jobs only.
    """

    def act(uow: UnitOfWork) -> Response:
        job = find_own_job(uow.session, job_id)
        if job.state not in FINAL_JOB_STATES:
            raise ConflictError(f"The job is {job.state}; wait until it is over, then retry what failed.")
        if job.items_failed + job.items_cancelled == 0:
            raise ConflictError("Nothing of this job failed, so there is nothing to retry.")
        return accepted(uow.session, retry_job(uow, job, retried_reasons(), {"retry_of": str(job_id)}))

    return once(services(), principal().id, str(job_id).encode(), act)


@blueprint.post("/retry")
@blueprint.auth_required(auth, roles=[Scope.SUBMIT.value])
@blueprint.input(RetryWanted, location="query")
@blueprint.output(BulkRetry)
@blueprint.doc(summary="Retry what failed, of many jobs", responses={429: "The token has too much open"})
def post_bulk_retry(query_data: RetryWanted) -> Any:
    """For each inference job that is over, that fits, and was not retried yet: a new job of its items that fit.

    At most 500 jobs at once, the oldest first: while `remaining` is not 0, send it again with `created_before` as
    answered. A token without scope `operate` retries its principal's jobs only. With `dry_run` all is only counted.
    """
    wanted = _filter(query_data)
    asked = query_data.model_dump(mode="json", exclude_none=True)

    if query_data.dry_run:
        with reading(services().engine) as session:
            return _shown(count_retries(session, wanted), wanted, dry_run=True)

    def act(uow: UnitOfWork) -> Response:
        return jsonify(_shown(retry_jobs(uow, wanted, asked), wanted, dry_run=False).model_dump(mode="json"))

    return once(services(), principal().id, query_data.model_dump_json().encode(), act)


def _filter(asked: RetryWanted) -> RetryFilter:
    name, version = _model(asked.model)
    now = utc_now()
    reasons = retried_reasons(asked.reason, asked.failure)
    if not reasons:
        raise InvalidRequestError(f"The reason {asked.reason} is not of the class {asked.failure}: name one of them.")
    return RetryFilter(
        states=RETRIED_STATES if asked.state is None else (JobState(asked.state),),
        reasons=reasons,
        created_before=min(asked.created_before or now, now),
        created_after=asked.created_after,
        label=asked.label,
        found=find_by(asked.q),
        lane=asked.priority,
        model_name=name,
        model_version=version,
        principal_id=own_only(mine=asked.mine),
    )


def _model(asked: str | None) -> tuple[str | None, int | None]:
    name, colon, number = (asked or "").partition(":")
    if colon and not VERSION_NUMBER.fullmatch(number):
        raise InvalidRequestError("The model's version is not a number; expected `name` or `name:version`.")
    return name or None, int(number) if colon else None


def _shown(found: Outcome, wanted: RetryFilter, *, dry_run: bool) -> BulkRetry:
    fields = asdict(found) | {"by_reason": dict(found.by_reason.most_common())}
    fields["retried"] = [Retried(job=job, retry=retry) for job, retry in found.retried]
    fields["refused"] = [NotRetried(job=job, detail=detail) for job, detail in found.refused]
    return BulkRetry(**fields, dry_run=dry_run, created_before=wanted.created_before)
