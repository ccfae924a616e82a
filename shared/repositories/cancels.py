"""What a bulk cancel finds: jobs that are not over and that nobody asked to end yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from shared.models import Job
from shared.repositories.bounded import MOST_COUNTED
from shared.repositories.filters import as_given
from shared.repositories.job_search import has_label
from shared.states import JobKind, JobState, Lane


@dataclass(frozen=True)
class CancelFilter:
    """Which jobs, by their own properties."""

    states: Sequence[JobState]
    created_before: datetime
    kind: JobKind | None = None
    lane: Lane | None = None
    label: str | None = None
    principal_id: int | None = None
    found: ColumnElement[bool] | None = None


class OpenJobs(NamedTuple):
    """So many jobs, and of their items without an outcome; `is_least`: and more of both."""

    jobs: int
    items: int
    is_least: bool


def count_open(session: Session, wanted: CancelFilter) -> OpenJobs:
    """How many jobs fit, and how many of their items have no outcome, up to MOST_COUNTED jobs."""
    some = _fitting(wanted, Job.items_total - Job.items_ended).limit(MOST_COUNTED + 1).subquery()
    jobs, items = session.execute(select(func.count(), func.sum(some.c[0]))).one()
    return OpenJobs(min(jobs, MOST_COUNTED), int(items or 0), jobs > MOST_COUNTED)


def first_open(session: Session, wanted: CancelFilter, most: int) -> Sequence[tuple[UUID, int]]:
    """The oldest of them, each with how many of its items have no outcome."""
    statement = _fitting(wanted, Job.id, Job.items_total - Job.items_ended).order_by(Job.id).limit(most)
    return [(job_id, items) for job_id, items in session.execute(statement)]


def _fitting(wanted: CancelFilter, *columns: Any) -> Select[Any]:
    return select(*columns).where(
        Job.state.in_(sorted(wanted.states)),
        Job.cancel_requested_at.is_(None),
        Job.created_at < wanted.created_before,
        *as_given((Job.kind, wanted.kind), (Job.lane, wanted.lane), (Job.principal_id, wanted.principal_id)),
        *has_label(wanted.label),
        *([] if wanted.found is None else [wanted.found]),
    )
