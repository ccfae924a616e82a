"""Schedules and their runs: when one is due, and what became of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.cron import fires_after
from shared.draw import drawn_share
from shared.errors import InvalidRequestError
from shared.models import Job, Schedule, ScheduleRun
from shared.states import FINAL_JOB_STATES, RunState


def due_at(schedule: Schedule, fires_at: datetime) -> datetime:
    """The moment with its jitter: the same for whoever computes it, another for each schedule and moment."""
    share = drawn_share(str(schedule.id), fires_at.isoformat())
    return fires_at + timedelta(seconds=share * schedule.jitter_s)


def set_next(schedule: Schedule, fires_at: datetime) -> None:
    """When it is due next."""
    schedule.fires_at = fires_at
    schedule.due_at = due_at(schedule, fires_at)


def first_fire(cron: str, time_zone: str, after: datetime) -> datetime:
    """The next moment; raises InvalidRequestError where there is none, as on the 30th of every February."""
    found = next(fires_after(cron, time_zone, after), None)
    if found is None:
        raise InvalidRequestError("The cron expression names no day that ever comes; mend its day or month.")
    return found


def schedule_named(session: Session, name: str, *, lock: bool = False) -> Schedule | None:
    """The schedule of this name that was not removed; locked, it changes only here until the transaction ends."""
    statement = select(Schedule).where(Schedule.name == name, Schedule.removed_at.is_(None))
    return session.scalar(statement.with_for_update(of=Schedule) if lock else statement)


def list_schedules(session: Session) -> Sequence[Schedule]:
    """All that were not removed, by name."""
    return session.scalars(select(Schedule).where(Schedule.removed_at.is_(None)).order_by(Schedule.name)).all()


def to_look_at(session: Session, now: datetime) -> Sequence[UUID]:
    """The schedules that are due, and those of which a run waits."""
    due = select(Schedule.id).where(Schedule.due_at <= now, Schedule.paused_at.is_(None), Schedule.removed_at.is_(None))
    waiting = select(ScheduleRun.schedule_id).where(ScheduleRun.state == RunState.WAITING)
    return list(dict.fromkeys([*session.scalars(due), *session.scalars(waiting)]))


def lock_schedule(session: Session, schedule_id: UUID) -> Schedule | None:
    """The schedule, until the transaction ends; None where another scheduler is at it, or it was removed."""
    statement = select(Schedule).where(Schedule.id == schedule_id, Schedule.removed_at.is_(None))
    return session.scalar(statement.with_for_update(skip_locked=True, of=Schedule))


def waiting_run(session: Session, schedule_id: UUID) -> ScheduleRun | None:
    """The run that waits; there is at most one."""
    return session.scalar(
        select(ScheduleRun)
        .where(ScheduleRun.schedule_id == schedule_id, ScheduleRun.state == RunState.WAITING)
        .order_by(ScheduleRun.id)
        .limit(1)
    )


def open_job_of(session: Session, schedule_id: UUID) -> UUID | None:
    """The latest job of a schedule's runs, while it is not over."""
    jobs = select(Job.id).join(ScheduleRun, ScheduleRun.job_id == Job.id).where(ScheduleRun.schedule_id == schedule_id)
    return session.scalar(jobs.where(Job.state.not_in(FINAL_JOB_STATES)).order_by(ScheduleRun.id.desc()).limit(1))


def last_runs(session: Session, schedule_id: UUID, limit: int, *, before: int | None = None) -> Sequence[ScheduleRun]:
    """Its runs, the latest first."""
    statement = select(ScheduleRun).where(ScheduleRun.schedule_id == schedule_id)
    if before is not None:
        statement = statement.where(ScheduleRun.id < before)
    return session.scalars(statement.order_by(ScheduleRun.id.desc()).limit(limit)).all()


def last_fired_at(session: Session, schedule_id: UUID) -> datetime | None:
    """When a run of the schedule last started a job."""
    runs = (ScheduleRun.schedule_id == schedule_id, ScheduleRun.state == RunState.FIRED)
    return session.scalar(select(func.max(ScheduleRun.decided_at)).where(*runs))
