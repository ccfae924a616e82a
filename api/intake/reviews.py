"""(6) A person's words on the newest version of a chain -> the columns of the next one; this only reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session
from werkzeug.datastructures import ETags

from api.schemas.reviews import AmendmentWanted, RetractionWanted, ReviewWanted
from shared.clock import utc_now
from shared.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PreconditionRequiredError,
    ScopeError,
    SupersededError,
)
from shared.models import Principal, Report
from shared.reports.review import Document, Reviewer, review_said, signed, unjudged, verdicts_on
from shared.reports.versions import Act, NewestReport, next_version
from shared.repositories.reports import get_report, newest_reports
from shared.repositories.reviews import ReviewedVersion, own_review
from shared.states import SIGNED_STATUSES, ReportOrigin, ReportStatus, Role


@dataclass(frozen=True)
class Asked:
    """Which version a person had before them, with which content, and who that is."""

    report_id: UUID
    read: ETags
    by: Principal


def draft_review(session: Session, asked: Asked, wanted: ReviewWanted) -> ReviewedVersion:
    """The next version with this review in it, final where it is signed; a retracted one is reviewed anew."""
    if wanted.sign:
        _check_physician(asked.by)
    report, newest = newest_of(session, asked)
    if report.status in SIGNED_STATUSES:
        raise ConflictError(f"Version {report.number} is {report.status} and signed: amend or retract it.")
    if not (wanted.sign or wanted.findings or wanted.comment):
        raise InvalidRequestError("The review says nothing: give verdicts on findings, a comment, or sign.")
    before = own_review(session, report, asked.by.id) or {"verdicts": [], "comment": ""}
    verdicts = verdicts_on(report.document, [one.said for one in wanted.findings], before["verdicts"])
    comment = before["comment"] if wanted.comment is None else wanted.comment
    by = Reviewer(asked.by.name, utc_now())
    review = review_said(by, verdicts, comment)
    if not wanted.sign:
        return _made(asked, Act(ReportOrigin.REVIEW, ReportStatus.PRELIMINARY, by.at), review, report, newest)
    _check_whole(report.document, verdicts)
    act = Act(ReportOrigin.SIGNATURE, ReportStatus.FINAL, by.at, signs=report.id)
    return _made(asked, act, signed(review, _named(report)), report, newest)


def draft_amendment(session: Session, asked: Asked, wanted: AmendmentWanted) -> ReviewedVersion:
    """The next version of a signed one, signed again."""
    _check_physician(asked.by)
    report, newest = _signed_of(session, asked, "amended")
    before = report.document["review"]
    verdicts = verdicts_on(report.document, [one.said for one in wanted.findings], before["verdicts"])
    comment = before["comment"] if wanted.comment is None else wanted.comment
    if (verdicts, comment) == (before["verdicts"], before["comment"]):
        raise InvalidRequestError("Nothing would change: an amendment gives another verdict, note or comment.")
    by = Reviewer(asked.by.name, utc_now())
    review = signed(review_said(by, verdicts, comment, wanted.reason), _named(report))
    act = Act(ReportOrigin.AMENDMENT, ReportStatus.AMENDED, by.at, signs=report.id)
    return _made(asked, act, review, report, newest)


def draft_retraction(session: Session, asked: Asked, wanted: RetractionWanted) -> ReviewedVersion:
    """The next version of a signed one, which takes back what was signed: no verdict is left."""
    _check_physician(asked.by)
    report, newest = _signed_of(session, asked, "retracted")
    by = Reviewer(asked.by.name, utc_now())
    act = Act(ReportOrigin.RETRACTION, ReportStatus.RETRACTED, by.at)
    return _made(asked, act, review_said(by, [], reason=wanted.reason), report, newest)


def newest_of(session: Session, asked: Asked) -> tuple[Report, NewestReport]:
    """The report, where it is the newest of its chain and its content is what was read."""
    report = get_report(session, asked.report_id)
    if report is None:
        raise NotFoundError("There is no such report.")
    if not asked.read or asked.read.star_tag:
        raise PreconditionRequiredError(
            "Say which content this was decided on: send If-Match with the ETag that GET /api/v1/reports/{id} gave, "
            "which is its content_digest in quotes."
        )
    newest = newest_reports(session, [report.patient_id], report.model_name)[report.patient_id]
    if newest.id != report.id:
        raise SupersededError(f"Version {report.number} is not the newest one.")
    if not asked.read.contains_weak(report.content_digest):
        raise ConflictError(f"If-Match names other content than version {report.number} has; read it again.")
    return report, newest


def _signed_of(session: Session, asked: Asked, what: str) -> tuple[Report, NewestReport]:
    report, newest = newest_of(session, asked)
    if report.status not in SIGNED_STATUSES:
        raise ConflictError(
            f"Version {report.number} is {report.status}, and only a signed one can be {what}; "
            "review and sign it instead."
        )
    return report, newest


def _check_physician(by: Principal) -> None:
    if Role.PHYSICIAN not in by.roles:
        raise ScopeError(
            f"This takes the role physician, which {by.name} does not have. An admin gives it to a person by name: "
            "overread token create --principal NAME --scope review --role physician."
        )


def _check_whole(document: Document, verdicts: Sequence[Document]) -> None:
    missing = unjudged(document, verdicts)
    if missing:
        raise InvalidRequestError(
            f"A signature takes a verdict on every decision; there is none on {', '.join(missing[:20])}.",
            errors=[{"pointer": "/findings", "detail": f"{code}: no verdict"} for code in missing[:20]],
        )


def _named(report: Report) -> Document:
    return {"id": report.id, "number": report.number, "content_digest": report.content_digest}


def _made(asked: Asked, act: Act, review: Document, report: Report, newest: NewestReport) -> ReviewedVersion:
    act = Act(act.origin, act.status, act.at, asked.by.id, asked.by.name, act.signs)
    columns = next_version(act, newest.document | {"review": review}, newest.inputs_digest, newest)
    chain = {name: getattr(report, name) for name in ("patient_id", "model_name", "model_version_id")}
    return ReviewedVersion(columns | chain, asked.by.name)
