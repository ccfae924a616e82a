"""What a bulk cancel finds: jobs that are not over and that nobody asked to end yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from shared.models import Job
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


def count_open(session: Session, wanted: CancelFilter) -> tuple[int, int]:
    """How many jobs fit, and how many of their items have no outcome."""
    statement = _fitting(wanted, func.count(), func.sum(Job.items_total - Job.items_ended))
    jobs, items = session.execute(statement).one()
    return jobs, int(items or 0)


def first_open(session: Session, wanted: CancelFilter, most: int) -> Sequence[tuple[UUID, int]]:
    """The oldest of them, each with how many of its items have no outcome."""
    statement = _fitting(wanted, Job.id, Job.items_total - Job.items_ended).order_by(Job.id).limit(most)
    return [(job_id, items) for job_id, items in session.execute(statement)]


def _fitting(wanted: CancelFilter, *columns: Any) -> Select[Any]:
    optional: tuple[tuple[Any, Any], ...] = (
        (Job.kind, wanted.kind),
        (Job.lane, wanted.lane),
        (Job.label, wanted.label),
        (Job.principal_id, wanted.principal_id),
    )
    return select(*columns).where(
        Job.state.in_(sorted(wanted.states)),
        Job.cancel_requested_at.is_(None),
        Job.created_at < wanted.created_before,
        *(column == value for column, value in optional if value is not None),
    )
