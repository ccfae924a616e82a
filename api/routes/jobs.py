"""Submit, list, watch and cancel jobs."""

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import Response, jsonify, request
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from api.auth import auth, check_own, may, principal
from api.idempotency import once
from api.intake.accept import Wish, accept_job, accept_training
from api.paging import page_of, read_body, read_query, uuid_cursor
from api.routes.uploads import begin_upload, take_files
from api.schemas.base import Page
from api.schemas.jobs import (
    DryRun,
    HistoryList,
    ItemList,
    ItemQuery,
    JobList,
    JobOfFilesWanted,
    JobQuery,
    JobsByState,
    JobShown,
    JobWanted,
)
from api.schemas.training import TrainingWanted
from api.services import services
from api.views.history import history_shown
from api.views.items import items_shown
from api.views.jobs import job_shown, jobs_shown, model_named
from shared.db import reading
from shared.errors import ConflictError, NotFoundError, ScopeError
from shared.models import Job
from shared.planning.plan import Selection, next_generation, plan_job, resolve_model
from shared.repositories.audit import add_audit_event
from shared.repositories.bounded import MOST_COUNTED, count_some
from shared.repositories.job_search import found_by
from shared.repositories.jobs import JobFilter, get_job, list_jobs, request_cancel
from shared.repositories.tallies import jobs_in, totals
from shared.states import Explain, JobKind, JobState, Lane, Scope
from shared.unit_of_work import UnitOfWork

NOT_OWN = "The job is somebody else's, and the token lacks the scope `operate`"

blueprint = APIBlueprint("jobs", __name__, url_prefix="/api/v1/jobs", tag="Jobs")


@blueprint.post("")
@blueprint.auth_required(auth, roles=[Scope.SUBMIT.value])
@blueprint.output(JobShown, status_code=202)
@blueprint.doc(summary="Submit a job", responses={429: "The token has too much open, or sends too often"})
def post_job() -> Any:
    """Predict on uploads, studies, patients or what other jobs were about; a body of files is upload and job in one.

    Or train a model.

    202 also while the broker is unreachable: the job is kept in the database and runs when the broker returns.
    """
    if request.mimetype in ("", "application/json"):
        payload = request.get_data()
        if _is_training():
            return _post_training(payload)
        wanted = read_body(JobWanted)
    else:
        wanted, payload = _wanted_of_files()

    def act(uow: UnitOfWork) -> Response:
        version = resolve_model(uow.session, wanted.model)
        selection = Selection(wanted.uploads, wanted.studies, wanted.patients, jobs=wanted.jobs)
        generation = next_generation(uow.session, version.digest) if wanted.force else 0
        plan = plan_job(uow.session, selection, version, generation=generation, explain=wanted.explain)
        if wanted.dry_run:
            shown = DryRun.model_validate({"model": model_named(version), "counts": plan.counts()})
            return jsonify(shown.model_dump(mode="json"))
        wish = Wish(wanted.priority, wanted.label, wanted.model_dump(mode="json"), explain=wanted.explain)
        return accepted(uow.session, accept_job(uow, version, plan, wish))

    return once(services(), principal().id, payload, act)


def _is_training() -> bool:
    body = request.get_json(force=True, silent=True)
    return isinstance(body, dict) and body.get("kind") == JobKind.TRAINING


def _post_training(payload: bytes) -> Response:
    """Training makes model versions, so it takes the scope of whoever operates the system."""
    if not may(Scope.OPERATE):
        raise ScopeError(f"Training needs a token with the scope {Scope.OPERATE}.")
    wanted = read_body(TrainingWanted)

    def act(uow: UnitOfWork) -> Response:
        version = resolve_model(uow.session, wanted.model)
        wish = Wish(Lane.TRAINING, wanted.label, wanted.model_dump(mode="json"), explain=Explain.NONE)
        return accepted(uow.session, accept_training(uow, version, wanted.options, wish))

    return once(services(), principal().id, payload, act)


def _wanted_of_files() -> tuple[JobWanted, bytes]:
    """Receive the files, then ask for them; the fingerprint is what arrived, whatever the multipart boundary was."""
    asked = read_query(JobOfFilesWanted)
    upload = begin_upload(services(), asked.label)
    files = take_files(services(), upload)
    digests = sorted(file.sha256 or f"{file.name} {file.reason}" for file in files)
    wanted = JobWanted(uploads=[upload.id], **asked.model_dump())
    return wanted, "\n".join([asked.model_dump_json(), *digests]).encode()


def accepted(session: Session, job: Job) -> Response:
    """202 and the job, made in the transaction of `session`."""
    (shown,) = jobs_shown(session, [job])
    response: Response = jsonify(shown.model_dump(mode="json"))
    response.status_code = 202
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return response


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(JobQuery, location="query")
@blueprint.output(JobList)
@blueprint.doc(summary="List jobs")
def get_jobs(query_data: JobQuery) -> Any:
    """Jobs, newest first; follow `Link: rel="next"` or `next` for more."""
    with reading(services().engine) as session:
        jobs = list_jobs(
            session,
            JobFilter(
                state=query_data.state,
                kind=query_data.kind,
                lane=query_data.priority,
                label=query_data.label,
                principal_id=principal().id if query_data.mine else None,
                typed=query_data.q,
            ),
            before=uuid_cursor(query_data.cursor),
            limit=query_data.limit + 1,
        )
        shown = jobs_shown(session, jobs)
        return page_of(shown, query_data.limit, lambda job: job, lambda job: str(job.id))


@blueprint.get("/counts")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(JobsByState)
@blueprint.doc(summary="Count jobs by state")
def get_counts() -> Any:
    """From counters, and one's own as far as is soon counted, so it takes as long however many jobs there are."""
    with reading(services().engine) as session:
        found = totals(session)
        mine, is_least = count_some(session, select(Job.id).where(Job.principal_id == principal().id), MOST_COUNTED)
        counts = {state: found[jobs_in(state)] for state in JobState}
        return JobsByState(counts=counts, mine=mine, mine_is_least=is_least)


@blueprint.get("/<uuid:job_id>")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(JobShown)
@blueprint.doc(summary="See a job")
def get_one_job(job_id: UUID) -> Any:
    """State, counts, progress, times; its place in line, when it is likely to be over, and what it waits for."""
    with reading(services().engine) as session:
        return job_shown(session, find_job(session, job_id))


@blueprint.get("/<uuid:job_id>/items")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(ItemQuery, location="query")
@blueprint.output(ItemList)
@blueprint.doc(summary="See a job's items")
def get_items(job_id: UUID, query_data: ItemQuery) -> Any:
    """What became of each file and instance of a job, with the reason, and the evidence where one killed a process."""
    with reading(services().engine) as session:
        find_job(session, job_id)
        return items_shown(session, job_id, query_data)


@blueprint.get("/<uuid:job_id>/history")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(Page, location="query")
@blueprint.output(HistoryList)
@blueprint.doc(summary="See a job's history")
def get_history(job_id: UUID, query_data: Page) -> Any:
    """Every move of the job and its shards, oldest first."""
    with reading(services().engine) as session:
        find_job(session, job_id)
        return history_shown(session, job_id, query_data)


@blueprint.post("/<uuid:job_id>/cancel")
@blueprint.auth_required(auth, roles=[Scope.SUBMIT.value])
@blueprint.output(JobShown, status_code=202)
@blueprint.doc(summary="Cancel a job", responses={403: NOT_OWN})
def post_cancel(job_id: UUID) -> Any:
    """Queued shards end at once, running ones at their next write; what was predicted stays. 409 when it is over.

    A token without scope `operate` cancels its principal's jobs only.
    """
    with services().unit_of_work() as uow:
        job = find_own_job(uow.session, job_id)
        if not request_cancel(uow.session, job_id, actor=principal().name):
            raise ConflictError(f"The job is {job.state} already; a job that is over cannot be cancelled.")
        add_audit_event(uow.session, principal().id, "job.cancel", "job", job_id)
        uow.session.refresh(job)
        return job_shown(uow.session, job)


def find_job(session: Session, job_id: UUID) -> Job:
    """The job, or NotFoundError."""
    job = get_job(session, job_id)
    if job is None:
        raise NotFoundError("There is no such job.")
    return job


def find_own_job(session: Session, job_id: UUID) -> Job:
    """The job, to be changed; raises ScopeError where it is somebody else's and the token may not operate."""
    job = find_job(session, job_id)
    check_own(job.principal_id, "job")
    return job


def find_by(typed: str) -> ColumnElement[bool] | None:
    """The condition of jobs that `q` finds; None where nothing is typed."""
    if not typed:
        return None
    with reading(services().engine) as session:
        return found_by(session, typed)
