"""What a bulk retry finds: final jobs not retried yet, and those of their items that ended without a result."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from shared.models import Item, Job, ModelVersion
from shared.reasons import Failure, Reason, reasons_of
from shared.repositories.filters import as_given
from shared.repositories.job_search import has_label
from shared.states import ItemState, JobKind, JobState, Lane

UNFINISHED = (ItemState.FAILED, ItemState.CANCELLED)
# What is settled before a worker sees it, from what is stored and what the model accepts: the same answer each time.
POINTLESS = frozenset({Reason.NOT_ACCEPTED_BY_MODEL, Reason.NO_PIXEL_DATA})


@dataclass(frozen=True)
class RetryFilter:
    """Which jobs, by their own properties, and which of their items, by `reasons`."""

    states: Collection[JobState]
    reasons: frozenset[Reason]
    created_before: datetime
    created_after: datetime | None = None
    label: str | None = None
    lane: Lane | None = None
    model_name: str | None = None
    model_version: int | None = None
    principal_id: int | None = None
    found: ColumnElement[bool] | None = None


def retried_reasons(reason: Reason | None = None, failure: Failure | None = None) -> frozenset[Reason]:
    """The reasons of items that a retry takes; what gives the same answer each time only where it is named."""
    reasons = frozenset(Reason) - POINTLESS if reason is None else frozenset({reason})
    return reasons if failure is None else reasons & reasons_of(failure)


def unfinished(reasons: Collection[Reason]) -> ColumnElement[bool]:
    """Items that ended without a result for one of these reasons."""
    return Item.state.in_(UNFINISHED) & Item.reason.in_(sorted(reasons))


class Retryable(NamedTuple):
    """What of some jobs can be tried again: items by reason, of how many jobs; and items without bytes to be tried."""

    by_reason: Counter[str]
    jobs: int
    not_retryable: int


def count_items(
    session: Session, job_ids: Select[UUID] | Sequence[UUID], reasons: Collection[Reason], most: int | None = None
) -> Retryable:
    """What of these jobs would be tried again, up to `most` items."""
    has_bytes = Item.instance_id.is_not(None).label("has_bytes")
    found = select(Item.job_id, Item.reason, has_bytes).where(Item.job_id.in_(job_ids), unfinished(reasons))
    items = found.limit(most).subquery().c
    by_reason: Counter[str] = Counter()
    jobs: set[UUID] = set()
    num_without = 0
    statement = select(items.job_id, items.reason, items.has_bytes, func.count())
    for job_id, reason, with_bytes, number in session.execute(statement.group_by(*list(items))):
        if with_bytes and reason is not None:
            by_reason[reason.value] += number
            jobs.add(job_id)
        else:
            num_without += number
    return Retryable(by_reason, len(jobs), num_without)


def job_ids_of(wanted: RetryFilter) -> Select[UUID]:
    """Final inference jobs that fit, that something of ended without a result, and that no job retries yet."""
    retry = aliased(Job)
    statement = select(Job.id).where(
        Job.kind == JobKind.INFERENCE,
        Job.state.in_(sorted(wanted.states)),
        Job.items_failed + Job.items_cancelled > 0,
        Job.created_at < wanted.created_before,
        ~exists().where(retry.retry_of == Job.id),
    )
    given = as_given(
        (Job.principal_id, wanted.principal_id),
        (Job.lane, wanted.lane),
        (ModelVersion.name, wanted.model_name),
        (ModelVersion.version, wanted.model_version),
    )
    if wanted.model_name is not None:
        statement = statement.join(ModelVersion, ModelVersion.id == Job.model_version_id)
    if wanted.created_after is not None:
        statement = statement.where(Job.created_at >= wanted.created_after)
    if wanted.found is not None:
        statement = statement.where(wanted.found)
    return statement.where(*given, *has_label(wanted.label))


def retryable_ids(wanted: RetryFilter) -> Select[UUID]:
    """Those of the jobs that hold an item which can be tried again."""
    item = exists().where(Item.job_id == Job.id, unfinished(wanted.reasons), Item.instance_id.is_not(None))
    return job_ids_of(wanted).where(item)


def first_jobs(session: Session, job_ids: Select[UUID], most: int) -> Sequence[UUID]:
    """The oldest of them."""
    return session.scalars(job_ids.order_by(Job.id).limit(most)).all()


def lock_unretried(session: Session, job_id: UUID) -> Job | None:
    """The job, locked until the transaction ends; None when somebody retried it meanwhile."""
    # FOR NO KEY UPDATE: its retry and that one's history refer to rows of this kind and must not wait.
    job = session.scalar(select(Job).where(Job.id == job_id).with_for_update(key_share=True, of=Job))
    if job is None or session.scalar(select(exists().where(Job.retry_of == job_id))):
        return None
    return job
