"""Patients' reports, as JSON and as a page to read."""

import base64
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog
from apiflask import APIBlueprint
from flask import Response, render_template, request
from sqlalchemy.orm import Session

from api.auth import auth
from api.paging import page_of, uuid_cursor
from api.pictures import WORDS, Wanted
from api.routes.docs import WEB_PAGE
from api.schemas.reports import ModelFilter, ReportList, ReportQuery, ReportShown, ReportSummary
from api.services import services
from api.views.heat_maps import explained_document
from api.views.jobs import model_named
from shared.db import reading
from shared.errors import NotFoundError, PermanentError
from shared.models import Report
from shared.repositories.reports import get_report, list_reports
from shared.states import Scope

blueprint = APIBlueprint("reports", __name__, url_prefix="/api/v1", tag="Reports")

log = structlog.get_logger()

# Of a page, so that it stays small and comes soon; the others are linked by their number.
MAX_PICTURES = 8
PAGE_SIDE = 320

# A report is self-contained: nothing is fetched, no script runs.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "Cache-Control": "private, no-store",
}


@blueprint.get("/reports")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(ReportQuery, location="query")
@blueprint.output(ReportList)
@blueprint.doc(summary="List reports")
def get_reports(query_data: ReportQuery) -> Any:
    """The newest report version per patient and model; `job` gives those a job led to."""
    with reading(services().engine) as session:
        found = list_reports(
            session,
            job_id=query_data.job,
            model=query_data.model,
            patient_key=query_data.patient,
            all_versions=query_data.all_versions,
            before=uuid_cursor(query_data.cursor),
            limit=query_data.limit + 1,
        )
        return page_of(found, query_data.limit, _summary, lambda report: str(report.id))


@blueprint.get("/reports/<uuid:report_id>")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(ReportShown)
@blueprint.doc(summary="Read a report")
def get_one_report(report_id: UUID) -> Any:
    """A report version: JSON, or HTML where `Accept` prefers it.

    Each row of evidence names its `heat_map`, or tells in `no_heat_map` why there is none; both are null where none
    was asked for.
    """
    with reading(services().engine) as session:
        found = shown(session, _find(session, report_id))
    return _answer(*found)


@blueprint.get("/reports/<uuid:report_id>.html")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.doc(summary="Read a report as a page", responses=WEB_PAGE)
def get_report_page(report_id: UUID) -> Any:
    """A report version as a self-contained page, heat maps over their frames included."""
    with reading(services().engine) as session:
        found = shown(session, _find(session, report_id))
    return _page(*found)


@blueprint.get("/patients/<string:patient_key>/report")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(ModelFilter, location="query")
@blueprint.output(ReportShown)
@blueprint.doc(summary="Read a patient's newest report")
def get_patient_report(patient_key: str, query_data: ModelFilter) -> Any:
    """The newest report of a patient (by opaque key), of one model where `model` says so."""
    with reading(services().engine) as session:
        found = list_reports(session, patient_key=patient_key, model=query_data.model, limit=1)
        if not found:
            raise NotFoundError("There is no report of such a patient; look in GET /api/v1/reports for keys.")
        newest = shown(session, found[0])
    return _answer(*newest)


def _find(session: Session, report_id: UUID) -> Report:
    report = get_report(session, report_id)
    if report is None:
        raise NotFoundError("There is no such report.")
    return report


def _answer(report: ReportShown, wanted: Mapping[int, Wanted]) -> Any:
    best = request.accept_mimetypes.best_match(["application/json", "text/html"], default="application/json")
    return _page(report, wanted) if best == "text/html" else report


def _page(report: ReportShown, wanted: Mapping[int, Wanted]) -> Response:
    page = render_template("report.html", report=report, pictures=dict(_pictures(wanted)), words=WORDS)
    return Response(page, content_type="text/html; charset=utf-8", headers=PAGE_HEADERS)


def _pictures(wanted: Mapping[int, Wanted]) -> Iterator[tuple[int, str]]:
    """The first few as data URIs, by the map's id; a picture that cannot be made is left out, and the page says so."""
    for heat_map_id, one in itertools.islice(wanted.items(), MAX_PICTURES):
        try:
            png = services().pictures.make(replace(one, side=PAGE_SIDE))
        except (PermanentError, NotFoundError) as error:
            log.warning("picture_not_made", heat_map=heat_map_id, error=type(error).__name__)
        else:
            yield heat_map_id, f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _summary(report: Report) -> ReportSummary:
    return ReportSummary.model_validate(_fields(report))


def shown(session: Session, report: Report) -> tuple[ReportShown, Mapping[int, Wanted]]:
    """The whole report version, and what the pictures of its heat maps are made of, by the map's id."""
    document, wanted = explained_document(session, report.document, report.model_version)
    return ReportShown.model_validate(_fields(report) | {"document": document}), wanted


def _fields(report: Report) -> dict[str, Any]:
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
        "signs": report.signs,
        "created_at": report.created_at,
        "links": {"self": base, "html": f"{base}.html"},
    }
