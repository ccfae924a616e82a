"""A planned job becomes rows, an audit event and hints in the request's transaction; 202 only after its commit."""

import secrets
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from api.auth import principal, token
from api.limits import check_open_items
from api.services import services
from shared.models import Job, ModelVersion, Report
from shared.planning.make import make_job, make_training, make_verification
from shared.planning.plan import Plan
from shared.reports.provenance import inputs_of
from shared.repositories.jobs import NewJob
from shared.repositories.principals import default_project
from shared.states import Explain, ItemState, JobKind, Lane
from shared.training_options import TrainingOptions
from shared.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Wish:
    """What is asked for beside the instances, or the options of a training; `request` is kept as it came."""

    lane: Lane
    label: str
    request: dict[str, Any]
    retry_of: UUID | None = None
    explain: Explain = Explain.POSITIVES


def accept_job(uow: UnitOfWork, version: ModelVersion, plan: Plan, wish: Wish) -> Job:
    """The new job of the token's principal; raises TooManyRequestsError when the token has too much open."""
    session, settings = uow.session, services().settings
    num_pending = sum(target.state is ItemState.PENDING for target in plan.targets)
    check_open_items(session, token().counts_as, wish.lane, num_pending, settings)
    new = _new_job(session, version, wish, generation=plan.generation)
    return session.get_one(Job, make_job(uow, new, plan, shard_items=settings.shard_items, actor="api"))


def accept_training(uow: UnitOfWork, version: ModelVersion, options: TrainingOptions, wish: Wish) -> Job:
    """The new training job of the token's principal; raises TooManyRequestsError as `accept_job` does."""
    check_open_items(uow.session, token().counts_as, wish.lane, 1, services().settings)
    new = _new_job(uow.session, version, wish, kind=JobKind.TRAINING)
    return make_training(uow, new, options, actor="api")


def accept_verification(uow: UnitOfWork, report: Report, sample: int | None, wish: Wish) -> Job:
    """The new job that verifies a report; raises TooManyRequestsError as `accept_job` does."""
    session, settings = uow.session, services().settings
    num_inputs = len(inputs_of(report.document))
    num_items = 1 + (num_inputs if sample is None else min(num_inputs, sample))
    check_open_items(session, token().counts_as, wish.lane, num_items, settings)
    # What decides which instances are drawn is known to nobody before, and on record afterwards.
    asked = {"report": str(report.id), "seed": secrets.token_hex(16)}
    version = session.get_one(ModelVersion, report.model_version_id)
    new = _new_job(session, version, replace(wish, request=wish.request | asked), kind=JobKind.VERIFICATION)
    return make_verification(uow, new, report, sample, shard_items=settings.shard_items, actor="api")


def _new_job(session: Session, version: ModelVersion, wish: Wish, **more: Any) -> NewJob:
    return NewJob(
        lane=wish.lane,
        model_version_id=version.id,
        principal_id=principal().id,
        token_id=token().counts_as,
        project_id=default_project(session).id,
        request=wish.request,
        label=wish.label,
        retry_of=wish.retry_of,
        explain=wish.explain,
        **more,
    )
