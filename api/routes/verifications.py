"""Verify a report: a job that checks its record and predicts on its instances again."""

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import Response, request

from api.auth import auth, principal
from api.idempotency import once
from api.intake.accept import Wish, accept_verification
from api.paging import page_of, read_body, uuid_cursor
from api.routes.jobs import accepted, find_job
from api.schemas.jobs import JobShown
from api.schemas.verifications import VerificationList, VerificationQuery, VerificationShown, VerificationWanted
from api.services import services
from api.views.verifications import verification_shown
from shared.db import reading
from shared.errors import NotFoundError
from shared.models import Report
from shared.repositories.verifications import verification_of, verifications_of
from shared.states import Explain, Scope
from shared.unit_of_work import UnitOfWork

blueprint = APIBlueprint("verifications", __name__, url_prefix="/api/v1", tag="Verifications")

NO_REPORT = "There is no such report."


@blueprint.post("/reports/<uuid:report_id>/verify")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.output(JobShown, status_code=202)
@blueprint.doc(summary="Verify a report", responses={429: "The token has too much open, or sends too often"})
def post_verify(report_id: UUID) -> Any:
    """A job that checks the report's record (document, audit trail, predictions, bytes, model) and computes again.

    The body, `{"sample": 8, "priority": "routine"}`, may be left out. Nothing that it computes is kept.
    """
    payload = request.get_data()
    wanted = read_body(VerificationWanted) if payload else VerificationWanted()

    def act(uow: UnitOfWork) -> Response:
        report = uow.session.get(Report, report_id)
        if report is None:
            raise NotFoundError(NO_REPORT)
        sample = None if wanted.sample == "all" else wanted.sample
        wish = Wish(wanted.priority, "", wanted.model_dump(mode="json"), explain=Explain.NONE)
        return accepted(uow.session, accept_verification(uow, report, sample, wish))

    return once(services(), principal().id, payload, act)


@blueprint.get("/reports/<uuid:report_id>/verifications")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(VerificationQuery, location="query")
@blueprint.output(VerificationList)
@blueprint.doc(summary="List a report's verifications")
def get_verifications(report_id: UUID, query_data: VerificationQuery) -> Any:
    """What each verification of this report version found, the newest first."""
    with reading(services().engine) as session:
        if session.get(Report, report_id) is None:
            raise NotFoundError(NO_REPORT)
        before, limit = uuid_cursor(query_data.cursor), query_data.limit
        found = verifications_of(session, report_id, before=before, limit=limit + 1)
        return page_of(found, limit, lambda row: verification_shown(session, *row), lambda row: str(row[0].job_id))


@blueprint.get("/jobs/<uuid:job_id>/verification")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(VerificationShown)
@blueprint.doc(summary="See what a verification found")
def get_verification(job_id: UUID) -> Any:
    """Each check with what differs, and all of them as one verdict; 404 for jobs that verify nothing."""
    with reading(services().engine) as session:
        job = find_job(session, job_id)
        verification = verification_of(session, job_id)
        if verification is None:
            raise NotFoundError(f"This job is one of {job.kind}; it verifies nothing.")
        return verification_shown(session, verification, job)
