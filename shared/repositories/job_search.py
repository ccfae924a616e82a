"""Jobs by what a person types: the beginning of a label, an id, a model's name or that of who submitted them.

Each way has an index of its own that ends in the job's id, and gives its newest: so it takes as long however many jobs
there are, and whatever the planner believes of them.
"""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.models import Job, ModelVersion, Principal

# Fewer hexadecimal digits are a word as well.
LEAST_DIGITS, ALL_DIGITS = 8, 32
# Of a beginning that more names have, so many are looked for: the newest.
MOST_NAMES = 50
# More jobs than these are not sorted: among all jobs the newest of them are found soon.
MOST_SORTED = 50_000
LAST_CHARACTER = "\U0010ffff"
NAMES = (
    (ModelVersion.name, ModelVersion.id, Job.model_version_id),
    (Principal.name, Principal.id, Job.principal_id),
)


def folded(label: str) -> str:
    """As labels are compared: capitals or not."""
    return label.casefold()


def has_label(label: str | None) -> list[ColumnElement[bool]]:
    """Conditions of jobs of exactly this label, by its index; none where none is given."""
    return [] if label is None else [Job.label_folded == folded(label), Job.label == label]


def found_by(session: Session, typed: str) -> ColumnElement[bool]:
    """Jobs that `typed` finds, as a condition beside others; the names are looked up first, for indexes to be used."""
    rows = [(column, session.scalars(_named(name, row_id, typed)).all()) for name, row_id, column in NAMES]
    named = [column.in_(ids) for column, ids in rows if ids]
    return or_(_begins(typed), *_of_id(typed), *named)


def newest_found(session: Session, typed: str, filters: Sequence[ColumnElement[bool]], limit: int) -> Select[Any]:
    """The ids of the newest jobs that `typed` finds and that pass the filters, `limit` of them for each way at most."""
    named = [column == row for name, row_id, column in NAMES for row in session.scalars(_named(name, row_id, typed))]
    ways = [_newest(select(Job.id).where(found, *filters), limit) for found in (*_of_id(typed), *named)]
    return select(union_all(*ways, _of_label(session, typed, filters, limit)).subquery().c.id)


def _newest(ids: Select[Any], limit: int) -> Select[Any]:
    """In brackets, as it were: SQLite takes no order inside a union."""
    return select(ids.order_by(Job.id.desc()).limit(limit).subquery().c.id)


def _of_id(typed: str) -> list[ColumnElement[bool]]:
    digits = typed.replace("-", "").lower()
    if not re.fullmatch(rf"[0-9a-f]{{{LEAST_DIGITS},{ALL_DIGITS}}}", digits):
        return []
    return [Job.id.between(UUID(digits.ljust(ALL_DIGITS, "0")), UUID(digits.ljust(ALL_DIGITS, "f")))]


def _named(name: InstrumentedAttribute[str], row_id: InstrumentedAttribute[int], typed: str) -> Select[Any]:
    begins = func.lower(name).startswith(typed.lower(), autoescape=True)
    return select(row_id).where(begins).order_by(row_id.desc()).limit(MOST_NAMES)


def _begins(typed: str) -> ColumnElement[bool]:
    return and_(Job.label_folded >= folded(typed), Job.label_folded < folded(typed) + LAST_CHARACTER)


def _of_label(session: Session, typed: str, filters: Sequence[ColumnElement[bool]], limit: int) -> Select[Any]:
    labelled = select(Job.id).where(_begins(typed))
    if session.scalar(labelled.offset(MOST_SORTED).limit(1)) is not None:
        return _newest(labelled.where(*filters), limit)
    # The inner limit leaves no choice but the index of labels.
    some = labelled.where(*filters).limit(MOST_SORTED).subquery().c.id
    return select(select(some).order_by(some.desc()).limit(limit).subquery().c.id)
