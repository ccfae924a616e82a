"""The versions of a chain, and what one says otherwise than another."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from api.schemas.reviews import VersionMade, VersionShown
from api.views.jobs import model_named
from shared.errors import ConflictError, NotFoundError
from shared.models import ModelVersion, Report
from shared.reports.changes import changes
from shared.repositories.reports import get_report, newest_reports
from shared.repositories.reviews import ReviewedVersion, review_of


def version_shown(report: Report, by: str | None) -> VersionShown:
    """A version as the chain lists it."""
    return VersionShown(
        **{name: getattr(report, name) for name in _COLUMNS},
        by=by,
        model=model_named(report.model_version),
        changes=report.document.get("changes"),
        links=_links(report.id),
    )


def version_made(made: ReviewedVersion, version: ModelVersion) -> VersionMade:
    """What a person gets for an answer."""
    return VersionMade(
        **{name: made.report[name] for name in _COLUMNS},
        by=made.by,
        model=model_named(version),
        changes=made.report["document"]["changes"],
        review=made.review,
        links=_links(made.report["id"]),
    )


def superseded(session: Session, report_id: UUID, principal_id: int) -> ConflictError:
    """The answer to who had an older version before them: the newest one, and what it says otherwise."""
    report = get_report(session, report_id)
    if report is None:
        raise NotFoundError("There is no such report.")
    newest = newest_reports(session, [report.patient_id], report.model_name)[report.patient_id]
    told = changes(report.document, newest.document)
    newer: dict[str, Any] = {"id": str(newest.id), "number": newest.number, "status": newest.status.value}
    parts = ", ".join(name.replace("_", " ") for name in told) or "nothing that a reader would see"
    return ConflictError(
        f"Version {report.number} is not the newest: version {newest.number} ({newest.id}) came after it and differs "
        f"in {parts}.{_own_part(session, report, principal_id)} Read that one, and decide on it.",
        newer=newer | {"changes": told},
    )


def _own_part(session: Session, report: Report, principal_id: int) -> str:
    """Where the same person made the next version of it: perhaps this request came before."""
    mine = review_of(session, report.id)
    if mine is None or mine.principal_id != principal_id:
        return ""
    return (
        f" What you sent about version {report.number} before made version {report.number + 1} ({mine.made_report_id})."
    )


_COLUMNS = ("id", "number", "status", "origin", "created_at", "content_digest", "supersedes", "signs")


def _links(report_id: UUID) -> dict[str, str]:
    base = f"/api/v1/reports/{report_id}"
    return {"self": base, "versions": f"{base}/versions", "changes": f"{base}/changes"}
