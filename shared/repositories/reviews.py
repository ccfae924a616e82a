"""Versions that people make: the report's row, the review's, its verdicts, its labels and the audit event, together."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared.config import Settings
from shared.errors import SupersededError
from shared.events import Event
from shared.identifiers import new_id
from shared.models import Instance, Report, Review, ReviewVerdict, Series, Study, table_of
from shared.models.label import REVIEW
from shared.reports.review import Document
from shared.reports.review_labels import Word, leading_blobs, words_of
from shared.repositories.audit import add_audit_event
from shared.repositories.follow_ups import note_retraction, note_signature
from shared.repositories.labels import (
    NewLabel,
    Target,
    add_labels,
    lock_labels,
    targets_named,
    withdraw_labels,
    withdraw_review,
)
from shared.repositories.notices import tell_of_reports
from shared.repositories.splits import settle_splits
from shared.states import ReportOrigin, TargetLevel

ACTIONS = {
    ReportOrigin.REVIEW: "report.review",
    ReportOrigin.SIGNATURE: "report.sign",
    ReportOrigin.AMENDMENT: "report.amend",
    ReportOrigin.RETRACTION: "report.retract",
}
# The documents that a signature freezes, in an event of its own: the chain covers them.
FREEZE = "report.freeze"
EVENTS = {
    ReportOrigin.SIGNATURE: Event.REPORT_SIGNED,
    ReportOrigin.AMENDMENT: Event.REPORT_AMENDED,
    ReportOrigin.RETRACTION: Event.REPORT_RETRACTED,
}
# These take the place of a signed version, and their labels that of its labels.
REPLACING = (ReportOrigin.AMENDMENT, ReportOrigin.RETRACTION)


def own_review(session: Session, report: Report, principal_id: int) -> Document | None:
    """What this person last said on the chain since its last results, where that was not signed."""
    of_chain = (Report.patient_id == report.patient_id, Report.model_name == report.model_name)
    unsigned = Report.origin == ReportOrigin.REVIEW
    last = session.scalar(select(func.max(Report.number)).where(*of_chain, ~unsigned)) or 0
    mine = select(Report.document).where(*of_chain, unsigned, Report.principal_id == principal_id, Report.number > last)
    document = session.scalar(mine.order_by(Report.number.desc()).limit(1))
    return document["review"] if document else None


def review_of(session: Session, report_id: UUID) -> Review | None:
    """The review that a person gave on this version; it made the next one."""
    return session.scalar(select(Review).where(Review.report_id == report_id))


@dataclass(frozen=True)
class ReviewedVersion:
    """A version that a person made of the newest one of its chain: all columns of its row, and who made it."""

    report: dict[str, Any]
    by: str

    @property
    def origin(self) -> ReportOrigin:
        """What the person did."""
        origin: ReportOrigin = self.report["origin"]
        return origin

    @property
    def review(self) -> Document:
        """What the person said."""
        review: Document = self.report["document"]["review"]
        return review


def add_reviewed_version(session: Session, made: ReviewedVersion, settings: Settings) -> None:
    """Write all of it; raises SupersededError where another version came first."""
    if made.origin is not ReportOrigin.REVIEW:
        lock_labels(session)
    _add_report(session, made.report)
    review_id = _add_review(session, made)
    labels = _relabel(session, made, review_id, settings) if made.origin is not ReportOrigin.REVIEW else 0
    if made.origin.is_signature:
        note_signature(session, made.report, made.by)
    elif made.origin is ReportOrigin.RETRACTION:
        note_retraction(session, made.report)
    told = {name: made.report[name] for name in ("number", "content_digest")}
    told |= {"verdicts": len(made.review["verdicts"]), "labels": labels}
    add_audit_event(session, made.report["principal_id"], ACTIONS[made.origin], "report", made.report["id"], **told)
    if made.origin in EVENTS:
        tell_of_reports(session, EVENTS[made.origin], [made.report])


def _add_report(session: Session, report: dict[str, Any]) -> None:
    of_chain = (Report.patient_id == report["patient_id"], Report.model_name == report["model_name"])
    if session.scalar(select(func.max(Report.number)).where(*of_chain)) != report["number"] - 1:
        raise SupersededError("Another version of the report came first.")
    try:
        session.execute(insert(table_of(Report)), report)
    except IntegrityError as error:
        raise SupersededError("Another version of the report came at the same moment.") from error


def _add_review(session: Session, made: ReviewedVersion) -> UUID:
    report, review_id = made.report, new_id()
    row = {
        "id": review_id,
        "report_id": report["supersedes"],
        "made_report_id": report["id"],
        "model_version_id": report["model_version_id"],
        "principal_id": report["principal_id"],
        "is_signed": made.origin.is_signature,
        "comment": made.review["comment"],
        "created_at": report["created_at"],
    }
    session.execute(insert(table_of(Review)), row)
    verdicts = [verdict | {"review_id": review_id} for verdict in made.review["verdicts"]]
    if verdicts:
        session.execute(insert(table_of(ReviewVerdict)), verdicts)
    return review_id


def _relabel(session: Session, made: ReviewedVersion, review_id: UUID, settings: Settings) -> int:
    """How many labels the review gives; those of the one that it takes the place of stand no more."""
    report = made.report
    if made.origin in REPLACING:
        replaced = session.scalars(select(Review.id).where(Review.made_report_id == report["supersedes"])).one()
        withdraw_labels(session, review_id=replaced)
    if not made.origin.is_signature:
        return 0
    words = _words(session, report["document"])
    targets = _studies(session, report["patient_id"], words)
    for word in words:
        if word.value is None:
            withdraw_review(session, targets[word.study_instance_uid], word.finding, report["model_name"])
    labels = [
        NewLabel(
            targets[word.study_instance_uid], word.finding, word.value, REVIEW, made.by, review_id, report["model_name"]
        )
        for word in words
        if word.value is not None
    ]
    if labels:
        settle_splits(session, [report["patient_id"]], settings)
    add_labels(session, report["principal_id"], labels)
    return len(labels)


def _words(session: Session, document: Document) -> list[Word]:
    blobs = sorted(set(leading_blobs(document).values()))
    statement = select(Instance.blob_sha256, Study.study_instance_uid).join(Instance.series).join(Series.study)
    study_of = dict(session.execute(statement.where(Instance.blob_sha256.in_(blobs))).all())
    return words_of(document, study_of)


def _studies(session: Session, patient_id: int, words: list[Word]) -> dict[str, Target]:
    found = targets_named(session, TargetLevel.STUDY, [word.study_instance_uid for word in words])
    return {uid: target for uid, some in found.items() for target in some if target.patient_row == patient_id}
