"""Signed verdicts that stand, counted."""

from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, aliased

from shared.models import ModelVersion, Principal, Review, ReviewVerdict
from shared.reports.agreement import Counted

_REPLACING = aliased(Review)
# What was amended or retracted has a review of its own version.
_STANDS = ~select(_REPLACING.id).where(_REPLACING.report_id == Review.made_report_id).exists()


def signed_verdicts(
    session: Session, *, name: str | None = None, version: int | None = None, since: datetime | None = None
) -> list[Counted]:
    """Of a model or one of its versions, from reviews that were signed since a moment."""
    columns = (
        ModelVersion.name,
        ModelVersion.version,
        ReviewVerdict.finding,
        Principal.name,
        ReviewVerdict.decision,
        ReviewVerdict.verdict,
    )
    where: list[ColumnElement[bool]] = [Review.is_signed.is_(True), _STANDS, ReviewVerdict.decision.is_not(None)]
    if name is not None:
        where.append(ModelVersion.name == name)
    if version is not None:
        where.append(ModelVersion.version == version)
    if since is not None:
        where.append(Review.created_at >= since)
    statement = (
        select(*columns, func.count())
        .join(Review, Review.id == ReviewVerdict.review_id)
        .join(ModelVersion, ModelVersion.id == Review.model_version_id)
        .join(Principal, Principal.id == Review.principal_id)
        .where(*where)
        .group_by(*columns)
    )
    rows = session.execute(statement)
    return [Counted(*row[:4], decision=bool(row.decision), verdict=row.verdict, number=row[-1]) for row in rows]
