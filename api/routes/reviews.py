"""Reports are reviewed, signed, amended and retracted; the chain of versions that comes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import Response, jsonify
from pydantic import BaseModel
from sqlalchemy.orm import Session
from werkzeug.http import parse_etags

from api.auth import auth, principal
from api.documents.renditions import Made, make_all, record
from api.documents.source import source_of
from api.idempotency import Act, prepared_once
from api.intake.reviews import Asked, draft_amendment, draft_retraction, draft_review
from api.paging import integer_cursor, page_of
from api.schemas.base import Page
from api.schemas.reviews import (
    AmendmentWanted,
    ChangesQuery,
    ChangesShown,
    IfMatch,
    RetractionWanted,
    ReviewWanted,
    VersionList,
    VersionMade,
    VersionNamed,
)
from api.services import services
from api.views.versions import superseded, version_made, version_shown
from shared.db import reading
from shared.errors import InvalidRequestError, NotFoundError, SupersededError
from shared.models import ModelVersion, Report
from shared.reports.changes import changes
from shared.repositories.audit import add_audit_event
from shared.repositories.reports import get_report, versions_of
from shared.repositories.reviews import FREEZE, ReviewedVersion, add_reviewed_version
from shared.states import Scope
from shared.unit_of_work import UnitOfWork

blueprint = APIBlueprint("reviews", __name__, url_prefix="/api/v1/reports", tag="Reviews")

REFUSALS: dict[int, str] = {
    409: "A newer version is there (`newer` says what it says otherwise), or this one's status does not allow it",
    428: "No If-Match came",
}


@blueprint.post("/<uuid:report_id>/review")
@blueprint.auth_required(auth, roles=[Scope.REVIEW.value])
@blueprint.input(IfMatch, location="headers")
@blueprint.input(ReviewWanted)
@blueprint.output(VersionMade, status_code=201)
@blueprint.doc(summary="Review a report, or sign it", responses=REFUSALS)
def post_review(report_id: UUID, headers_data: IfMatch, json_data: ReviewWanted) -> Any:
    """A verdict on each finding makes the next version: preliminary, or final where `sign` says so.

    Only the newest version can be reviewed. Signing takes the role physician, and makes the verdicts labels.
    """
    return _made(report_id, headers_data, json_data, lambda session, asked: draft_review(session, asked, json_data))


@blueprint.post("/<uuid:report_id>/amend")
@blueprint.auth_required(auth, roles=[Scope.REVIEW.value])
@blueprint.input(IfMatch, location="headers")
@blueprint.input(AmendmentWanted)
@blueprint.output(VersionMade, status_code=201)
@blueprint.doc(summary="Amend a signed report", responses=REFUSALS)
def post_amend(report_id: UUID, headers_data: IfMatch, json_data: AmendmentWanted) -> Any:
    """The next version, signed by who amends; its labels take the place of those of the version before."""
    return _made(report_id, headers_data, json_data, lambda session, asked: draft_amendment(session, asked, json_data))


@blueprint.post("/<uuid:report_id>/retract")
@blueprint.auth_required(auth, roles=[Scope.REVIEW.value])
@blueprint.input(IfMatch, location="headers")
@blueprint.input(RetractionWanted)
@blueprint.output(VersionMade, status_code=201)
@blueprint.doc(summary="Retract a signed report", responses=REFUSALS)
def post_retract(report_id: UUID, headers_data: IfMatch, json_data: RetractionWanted) -> Any:
    """The next version says that the signed one is not to be relied on; its labels are withdrawn."""
    return _made(report_id, headers_data, json_data, lambda session, asked: draft_retraction(session, asked, json_data))


@blueprint.get("/<uuid:report_id>/versions")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(Page, location="query")
@blueprint.output(VersionList)
@blueprint.doc(summary="List the versions of a report")
def get_versions(report_id: UUID, query_data: Page) -> Any:
    """The whole chain that the version belongs to, the oldest first, each with what changed since the one before."""
    with reading(services().engine) as session:
        report = _find(session, report_id)
        after = integer_cursor(query_data.cursor) or 0
        found = versions_of(session, report, after=after, limit=query_data.limit + 1)
        return page_of(found, query_data.limit, lambda row: version_shown(*row), lambda row: str(row[0].number))


@blueprint.get("/<uuid:report_id>/changes")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(ChangesQuery, location="query")
@blueprint.output(ChangesShown)
@blueprint.doc(summary="Compare two versions of a report")
def get_changes(report_id: UUID, query_data: ChangesQuery) -> Any:
    """What the version says otherwise than another of its chain, or than the one before it."""
    with reading(services().engine) as session:
        report = _find(session, report_id)
        since_id = query_data.since or report.supersedes
        if since_id is None:
            raise InvalidRequestError("The first version has none before it; name another one in `since`.")
        since = _find(session, since_id)
    if (since.patient_id, since.model_name) != (report.patient_id, report.model_name):
        raise InvalidRequestError("The two versions are not of one chain; GET /reports/{id}/versions lists one.")
    named = {name: VersionNamed(id=one.id, number=one.number) for name, one in (("since", since), ("to", report))}
    return ChangesShown(**named, changes=changes(since.document, report.document))


def _find(session: Session, report_id: UUID) -> Report:
    report = get_report(session, report_id)
    if report is None:
        raise NotFoundError("There is no such report.")
    return report


def _made(
    report_id: UUID, read: IfMatch, wanted: BaseModel, draft: Callable[[Session, Asked], ReviewedVersion]
) -> Response:
    """Draft the next version, then write it in one transaction; who lost a race hears what is newer."""
    by = principal()
    asked = Asked(report_id, parse_etags(read.if_match), by)

    def prepare() -> Act:
        with reading(services().engine) as session:
            made = draft(session, asked)
            version = session.get_one(ModelVersion, made.report["model_version_id"])
            source = source_of(session, made.report["document"], made.report["content_digest"], version)
        # Before the transaction: it takes seconds, and others would wait.
        documents = make_all(source) if made.origin.is_signature else []
        return lambda uow: _written(uow, made, version, Frozen(source.digest, documents))

    payload = f"{read.if_match} {wanted.model_dump_json()}"
    try:
        return prepared_once(services(), by.id, payload.encode(), prepare)
    except SupersededError as error:
        with reading(services().engine) as session:
            raise superseded(session, report_id, by.id) from error


@dataclass(frozen=True)
class Frozen:
    """The documents that a signature freezes, and the digest of what they were made of."""

    source_digest: str
    documents: Sequence[Made]


def _written(uow: UnitOfWork, made: ReviewedVersion, version: ModelVersion, frozen: Frozen) -> Response:
    add_reviewed_version(uow.session, made, services().settings)
    if frozen.documents:
        record(uow.session, made.report["id"], frozen.source_digest, frozen.documents)
        named = {f"{one.kind.value} {one.language}".strip(): one.sha256 for one in frozen.documents}
        add_audit_event(uow.session, principal().id, FREEZE, "report", made.report["id"], documents=named)
    shown = version_made(made, version)
    answer: Response = jsonify(shown.model_dump(mode="json"))
    answer.status_code = 201
    answer.headers["Location"] = shown.links["self"]
    answer.set_etag(shown.content_digest)
    return answer
