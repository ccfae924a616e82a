"""Patients' reports: as JSON, and as the documents that are made of them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from api.auth import auth
from api.paging import page_of, uuid_cursor
from api.routes.docs import REPORT
from api.schemas.reports import LanguageQuery, PatientReportQuery, ReportList, ReportQuery, ReportShown, ReportSummary
from api.services import services
from api.views.heat_maps import explained_document
from api.views.jobs import model_named
from api.views.report_documents import (
    SCHEMA_PATH,
    accepted_kind,
    document_answer,
    json_answer,
    kind_of_suffix,
    links_of,
)
from shared.db import reading
from shared.errors import NotFoundError
from shared.models import Report
from shared.repositories.reports import ReportFilter, get_report, list_reports, newer_of
from shared.states import RenditionFormat, Scope

Newer = Mapping[UUID, Any]

blueprint = APIBlueprint("reports", __name__, url_prefix="/api/v1", tag="Reports")


@blueprint.get("/reports")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(ReportQuery, location="query")
@blueprint.output(ReportList)
@blueprint.doc(summary="List reports")
def get_reports(query_data: ReportQuery) -> Any:
    """The newest report version per patient and model; `job` gives those a job led to."""
    with reading(services().engine) as session:
        wanted = ReportFilter(
            job_id=query_data.job,
            model=query_data.model,
            patient_key=query_data.patient,
            patient_id=query_data.patient_id,
            status=query_data.status,
            unsigned=query_data.unsigned,
            all_versions=query_data.all_versions,
        )
        found = list_reports(session, wanted, before=uuid_cursor(query_data.cursor), limit=query_data.limit + 1)
        newer = newer_of(session, found)
        return page_of(found, query_data.limit, lambda one: _summary(one, newer), lambda one: str(one.id))


@blueprint.get("/reports/<uuid:report_id>")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(LanguageQuery, location="query")
@blueprint.doc(summary="Read a report", responses=REPORT)
def get_one_report(report_id: UUID, query_data: LanguageQuery) -> Any:
    """A report version, as what `Accept` prefers: JSON, or a document for people or for other systems.

    In JSON each row of evidence names its `heat_map`, or tells in `no_heat_map` why there is none; both are null where
    none was asked for. Documents of a signed version are those that were made with the signature, to the byte.

    Where a newer version is there, every form comes with `Link: <...>; rel="latest-version"`; JSON names that version
    in `superseded_by`, outside the document. Its weak ETag holds the `content_digest`, which `If-Match` of a review
    takes in quotes, without the `W/`.
    """
    return _answer(report_id, accepted_kind(), query_data.lang)


@blueprint.get("/reports/<uuid:report_id>.<string:suffix>")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(LanguageQuery, location="query")
@blueprint.doc(summary="Read a report in one form", responses=REPORT)
def get_report_document(report_id: UUID, suffix: str, query_data: LanguageQuery) -> Any:
    """The same, as what the address ends in, whatever `Accept` says."""
    return _answer(report_id, kind_of_suffix(suffix), query_data.lang)


@blueprint.get("/patients/<string:patient_key>/report")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(PatientReportQuery, location="query")
@blueprint.doc(summary="Read a patient's newest report", responses=REPORT)
def get_patient_report(patient_key: str, query_data: PatientReportQuery) -> Any:
    """The newest report of a patient (by opaque key), of one model where `model` says so; as what `Accept` prefers."""
    with reading(services().engine) as session:
        found = list_reports(session, ReportFilter(patient_key=patient_key, model=query_data.model), limit=1)
    if not found:
        raise NotFoundError("There is no report of such a patient; look in GET /api/v1/reports for keys.")
    return _answer(found[0].id, accepted_kind(), query_data.lang)


def _answer(report_id: UUID, kind: RenditionFormat | None, lang: str | None) -> Response:
    with reading(services().engine) as session:
        report = get_report(session, report_id)
        if report is None:
            raise NotFoundError("There is no such report.")
        newer = newer_of(session, [report])
        if kind is None:
            answer: Response = json_answer(_shown(session, report, newer))
    if kind is not None:
        answer = document_answer(report_id, kind, lang)
    if report_id in newer:
        answer.headers["Link"] = f'<{blueprint.url_prefix}/reports/{newer[report_id].id}>; rel="latest-version"'
    return answer


def _summary(report: Report, newer: Newer) -> ReportSummary:
    return ReportSummary.model_validate(_fields(report, newer))


def _shown(session: Session, report: Report, newer: Newer) -> ReportShown:
    document, _ = explained_document(session, report.document, report.model_version)
    return ReportShown.model_validate(_fields(report, newer) | {"document": document})


def _fields(report: Report, newer: Newer) -> dict[str, Any]:
    base = f"/api/v1/reports/{report.id}"
    return {
        "id": report.id,
        "patient": report.patient,
        "model": model_named(report.model_version),
        "number": report.number,
        "status": report.status,
        "origin": report.origin,
        "content_digest": report.content_digest,
        "findings": report.document["findings"],
        "completeness": report.document["completeness"],
        "supersedes": report.supersedes,
        "superseded_by": newer.get(report.id),
        "signs": report.signs,
        "created_at": report.created_at,
        "links": {"self": base, "schema": SCHEMA_PATH} | links_of(base),
    }
