"""A schedule's inference: a job over the stored instances that no job has asked the model about."""

from uuid import UUID

from shared.config import Settings
from shared.models import Schedule
from shared.planning.make import make_job
from shared.planning.plan import Selection, plan_job, resolve_model
from shared.planning.unseen import count_unseen, unseen_instances
from shared.repositories.jobs import NewJob
from shared.repositories.principals import default_project
from shared.repositories.registry import lock_name
from shared.states import Explain, Lane
from shared.unit_of_work import UnitOfWork

# The rest comes in a job of its own when this one is over: a duty must not keep recovery waiting.
MOST_INSTANCES = 20_000


def start_batch(uow: UnitOfWork, schedule: Schedule, settings: Settings) -> tuple[UUID | None, str, bool]:
    """The job, if there is enough that is new, what to tell of it, and whether more is left.

    Raises InvalidRequestError when the schedule's model cannot be had.
    """
    session, wanted = uow.session, schedule.request
    version = resolve_model(session, wanted["model"])
    lock_name(session, version.name)
    every_version = bool(wanted["every_version"])
    number = count_unseen(session, version, every_version=every_version)
    if number < schedule.min_new:
        return None, f"{number} instances are new; it starts from {schedule.min_new} on", False
    instances = unseen_instances(session, version, MOST_INSTANCES, every_version=every_version)
    explain = Explain(wanted["explain"])
    plan = plan_job(session, Selection(instances=instances), version, generation=0, explain=explain)
    new = NewJob(
        lane=Lane(wanted["priority"]),
        model_version_id=version.id,
        principal_id=schedule.principal_id,
        project_id=default_project(session).id,
        request={**wanted, "schedule": schedule.name},
        label=wanted["label"],
        explain=explain,
    )
    job_id = make_job(uow, new, plan, shard_items=settings.shard_items, actor="scheduler")
    return job_id, f"{len(instances)} of {number} new instances", number > len(instances)
