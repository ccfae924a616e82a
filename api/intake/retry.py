"""Jobs tried again: a new job of only what ended without a result, by the same model version."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.intake.accept import Wish, accept_job, accept_training, accept_verification
from shared.errors import OverreadError, TooManyRequestsError
from shared.models import Job, Report, TrainingRun, Verification
from shared.planning.plan import Selection, plan_job
from shared.repositories.bounded import count_some
from shared.repositories.retries import (
    RetryFilter,
    count_items,
    first_jobs,
    job_ids_of,
    lock_unretried,
    retryable_ids,
)
from shared.states import JobKind
from shared.training_options import TrainingOptions
from shared.unit_of_work import UnitOfWork

log = structlog.get_logger()

# Of one request: so many jobs are retried, and none is begun after so many items; one transaction holds them all.
MOST_JOBS, MOST_ITEMS = 500, 50_000
# So many are looked at, so that jobs which cannot be retried never hide those behind them.
MOST_TRIED = 2 * MOST_JOBS
# Of those that are left so many are counted, more than can be tried in vain; before, so many are looked at.
MOST_COUNTED = MOST_TRIED + MOST_JOBS
MOST_LOOKED_AT = 1000


@dataclass
class Outcome:
    """What a bulk retry did, or would do."""

    jobs: int = 0
    items: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    not_retryable: int = 0
    retried: list[tuple[UUID, UUID]] = field(default_factory=list)
    refused: list[tuple[UUID, str]] = field(default_factory=list)
    remaining: int = 0
    is_least: bool = False


def retry_job(uow: UnitOfWork, job: Job, reasons: frozenset[Any], request: dict[str, Any]) -> Job:
    """The new job; raises ConflictError when there is nothing that a new try could change.

    A training begins anew, on the labels that stand then, with the options of the job; so does a verification, which
    draws its instances again.
    """
    wish = Wish(job.lane, job.label, request, retry_of=job.id, explain=job.explain)
    if job.kind is JobKind.TRAINING:
        options = TrainingOptions.model_validate(uow.session.get_one(TrainingRun, job.id).options)
        return accept_training(uow, job.model_version, options, wish)
    if job.kind is JobKind.VERIFICATION:
        verification = uow.session.get_one(Verification, job.id)
        report = uow.session.get_one(Report, verification.report_id)
        return accept_verification(uow, report, verification.sample, wish)
    selection = Selection(unfinished_of=job.id, reasons=reasons)
    plan = plan_job(uow.session, selection, job.model_version, generation=job.generation, explain=job.explain)
    return accept_job(uow, job.model_version, plan, wish)


def count_retries(session: Session, wanted: RetryFilter) -> Outcome:
    """What bulk retries would do, all that fits counted together, up to MOST_LOOKED_AT jobs and MOST_ITEMS items."""
    _, is_least = count_some(session, job_ids_of(wanted), MOST_LOOKED_AT)
    some = job_ids_of(wanted).limit(MOST_LOOKED_AT)
    by_reason, jobs, num_without = count_items(session, some, wanted.reasons, MOST_ITEMS)
    items = by_reason.total()
    is_least |= items + num_without == MOST_ITEMS
    return Outcome(jobs, items, by_reason, num_without, is_least=is_least)


def retry_jobs(uow: UnitOfWork, wanted: RetryFilter, request: dict[str, Any]) -> Outcome:
    """Retry what fits, oldest first, up to the most of one request; a job that cannot be retried costs no other."""
    found = Outcome()
    for job_id in first_jobs(uow.session, retryable_ids(wanted), MOST_TRIED):
        if len(found.retried) >= MOST_JOBS or found.items >= MOST_ITEMS:
            break
        try:
            with uow.session.begin_nested():
                _retry_one(uow, job_id, wanted, request, found)
        except TooManyRequestsError:
            if not found.retried:
                raise
            break
        except (OverreadError, ValidationError) as error:
            told = error.message if isinstance(error, OverreadError) else "its model's contract is not valid any more"
            log.warning("job_not_retried", job_id=str(job_id), error=type(error).__name__)
            found.refused.append((job_id, told))
    found.jobs = len(found.retried)
    left, found.is_least = count_some(uow.session, retryable_ids(wanted), MOST_COUNTED)
    found.remaining = max(0, left - len(found.refused))
    return found


def _retry_one(uow: UnitOfWork, job_id: UUID, wanted: RetryFilter, request: dict[str, Any], found: Outcome) -> None:
    job = lock_unretried(uow.session, job_id)
    if job is None:
        return
    by_reason, _, num_without = count_items(uow.session, [job_id], wanted.reasons)
    retry = retry_job(uow, job, wanted.reasons, request | {"retry_of": str(job_id)})
    found.by_reason += by_reason
    found.items += by_reason.total()
    found.not_retryable += num_without
    found.retried.append((job_id, retry.id))
