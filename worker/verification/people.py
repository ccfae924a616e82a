"""What people made of a report version, as its rows have it, against its document and its audit event."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.models import AuditEvent, Instance, Label, Report, ReportRendition, Review, ReviewVerdict, Series, Study
from shared.reports.review_labels import leading_blobs, words_of
from shared.repositories.reviews import FREEZE

_OF_VERDICT = ("finding", "verdict", "decision", "value", "note")


def review_faults(session: Session, report: Report) -> tuple[int, list[str]]:
    """How many rows there are of the version's review, and what they say otherwise than its document."""
    row = session.scalar(select(Review).where(Review.made_report_id == report.id))
    said: dict[str, Any] | None = report.document.get("review")
    if row is None or said is None:
        return 0, [] if row is None and said is None else ["of the review and its row one is missing"]
    differing = []
    of_row = (row.principal_id, row.is_signed, row.comment)
    if of_row != (report.principal_id, said["signed"] is not None, said["comment"]):
        differing.append("the review's row says otherwise than the document who reviewed, whether signed, or what")
    verdicts = session.scalars(select(ReviewVerdict).where(ReviewVerdict.review_id == row.id)).all()
    stored = {one.finding: [getattr(one, name) for name in _OF_VERDICT] for one in verdicts}
    told = {one["finding"]: [one[name] for name in _OF_VERDICT] for one in said["verdicts"]}
    differing += [
        f"{finding}: the verdict's row is not what the document says"
        for finding in sorted(stored.keys() | told.keys())
        if stored.get(finding) != told.get(finding)
    ]
    if row.is_signed:
        differing += _label_faults(session, report, row)
    return 1 + len(verdicts), differing


def _label_faults(session: Session, report: Report, review: Review) -> list[str]:
    """The labels that the signature gave, whether they stand or a later word took their place."""
    blobs = sorted(set(leading_blobs(report.document).values()))
    of_blobs = select(Instance.blob_sha256, Study.study_instance_uid).join(Instance.series).join(Series.study)
    study_of = dict(session.execute(of_blobs.where(Instance.blob_sha256.in_(blobs))).all())
    words = words_of(report.document, study_of)
    told = {(one.study_instance_uid, one.finding, one.value) for one in words if one.value is not None}
    labels = select(Study.study_instance_uid, Label.finding, Label.value).join(Study, Study.id == Label.target_id)
    stored = {tuple(row) for row in session.execute(labels.where(Label.review_id == review.id))}
    return [f"{finding}: the label of a study is not what was signed" for _, finding, _ in sorted(stored ^ told)]


def frozen_faults(session: Session, report: Report) -> tuple[list[str], list[str]]:
    """The blobs of the documents that a signature froze, and what their rows say otherwise than the audit event."""
    of_report = (AuditEvent.object_kind == "report", AuditEvent.object_id == str(report.id))
    events = session.scalars(select(AuditEvent.detail).where(*of_report, AuditEvent.action == FREEZE)).all()
    rows = session.scalars(
        select(ReportRendition).where(ReportRendition.report_id == report.id).order_by(ReportRendition.id)
    )
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(f"{row.format.value} {row.language}".strip(), row.blob_sha256)
    frozen = {name: sha256 for event in events for name, sha256 in event["documents"].items()}
    differing = [] if len(events) <= 1 else ["several events name the documents that the signature froze"]
    differing += [
        f"{name}: the frozen document is {sha256}, its row names {first.get(name)}"
        for name, sha256 in frozen.items()
        if first.get(name) != sha256
    ]
    return sorted(frozen.values()), differing
