"""A schedule's training: a job, when there are enough labels that no run of the schedule has seen."""

from uuid import UUID

from shared.model_contract import ModelContract
from shared.models import Schedule
from shared.planning.make import make_training
from shared.planning.plan import resolve_model
from shared.repositories.jobs import NewJob
from shared.repositories.labels import count_labels_since
from shared.repositories.principals import default_project
from shared.repositories.schedules import last_fired_at
from shared.states import Explain, JobKind, Lane
from shared.training_options import TrainingOptions
from shared.unit_of_work import UnitOfWork


def start_training(uow: UnitOfWork, schedule: Schedule) -> tuple[UUID | None, str, bool]:
    """The job, if there is enough that is new, and what to tell of it; nothing is ever left for another run.

    Raises InvalidRequestError when the schedule's model cannot be had.
    """
    session, wanted = uow.session, schedule.request
    version = resolve_model(session, wanted["model"])
    findings = [finding.code for finding in ModelContract.model_validate(version.contract).findings]
    number = count_labels_since(session, findings, last_fired_at(session, schedule.id))
    if number < schedule.min_new:
        return None, f"{number} labels are new since its last training; it starts from {schedule.min_new} on", False
    new = NewJob(
        lane=Lane.TRAINING,
        kind=JobKind.TRAINING,
        model_version_id=version.id,
        principal_id=schedule.principal_id,
        project_id=default_project(session).id,
        request={**wanted, "schedule": schedule.name},
        label=wanted["label"],
        explain=Explain.NONE,
    )
    job = make_training(uow, new, TrainingOptions.model_validate(wanted["options"]), actor="scheduler")
    return job.id, f"{number} new labels", False
