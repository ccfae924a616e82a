"""A job as it stands: counts, place in line, and in words what it waits for."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.schemas.jobs import JobCounts, JobShown, ModelNamed
from api.schemas.training import TrainingShown
from api.services import services
from api.views.situation import Situation
from api.views.training import training_shown
from api.views.waiting import Waiting, waiting_of
from shared.models import Job, ModelVersion
from shared.repositories.principals import principal_names
from shared.repositories.training import runs_of
from shared.repositories.waiting import next_shards
from shared.states import FINAL_JOB_STATES, JobKind


def model_named(version: ModelVersion) -> ModelNamed:
    """Name, version and digest."""
    return ModelNamed(name=version.name, version=version.version, digest=version.digest)


def job_shown(session: Session, job: Job) -> JobShown:
    """One job, its place in line counted to the end."""
    (shown,) = _all_shown(session, [job], exact=True)
    return shown


def jobs_shown(session: Session, jobs: Sequence[Job]) -> list[JobShown]:
    """Jobs of a list, or in a writing transaction, which should not take long.

    A place far back in line is only said to be at least so far.
    """
    return _all_shown(session, jobs, exact=False)


def _all_shown(session: Session, jobs: Sequence[Job], *, exact: bool) -> list[JobShown]:
    open_jobs = [job for job in jobs if job.state not in FINAL_JOB_STATES]
    waitings: dict[object, Waiting] = {}
    if open_jobs:
        situation = Situation(session, services())
        following = next_shards(session, [job.id for job in open_jobs], situation.now)
        situation.look_up(following.values(), exact=exact)
        waitings = {job.id: waiting_of(situation, job, following.get(job.id)) for job in open_jobs}
    runs = runs_of(session, [job.id for job in jobs if job.kind is JobKind.TRAINING])
    trainings = {job.id: training_shown(job, runs[job.id], whole=exact) for job in jobs if job.id in runs}
    names = principal_names(session, {job.principal_id for job in jobs})
    return [
        _shown(job, names[job.principal_id], waitings.get(job.id, Waiting()), trainings.get(job.id)) for job in jobs
    ]


def _shown(job: Job, by: str, waiting: Waiting, training: TrainingShown | None) -> JobShown:
    base = f"/api/v1/jobs/{job.id}"
    return JobShown(
        id=job.id,
        kind=job.kind,
        state=job.state,
        priority=job.lane,
        label=job.label,
        by=by,
        explain=job.explain,
        model=model_named(job.model_version),
        counts=JobCounts(
            total=job.items_total,
            done=job.items_done,
            failed=job.items_failed,
            skipped=job.items_skipped,
            cancelled=job.items_cancelled,
            pending=job.items_total - job.items_ended,
            reused=job.items_reused,
        ),
        progress=_progress(job, training),
        position=waiting.position,
        position_is_least=waiting.position_is_least,
        eta_s=training.eta_s if training else waiting.eta_s,
        eta_error_s=waiting.eta_error_s,
        waiting=waiting.sentence,
        waits_for=list(waiting.causes),
        training=training,
        retry_of=job.retry_of,
        cancel_requested_at=job.cancel_requested_at,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        links={"self": base, "items": f"{base}/items", "history": f"{base}/history"} | _more_links(job, base),
    )


def _more_links(job: Job, base: str) -> dict[str, str]:
    if job.kind is JobKind.VERIFICATION:
        return {"verification": f"{base}/verification"}
    return {"reports": f"/api/v1/reports?job={job.id}"}


def _progress(job: Job, training: TrainingShown | None) -> float:
    if training and job.items_done < job.items_total:
        return training.step / training.steps if training.steps else 0.0
    return job.items_ended / job.items_total if job.items_total else 1.0
