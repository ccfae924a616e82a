"""A database with one schedule and a clock of its own, for tests of what becomes of each night."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from scheduler.calendar import Calendar
from shared.db import reading
from shared.identifiers import new_id
from shared.models import Job, Schedule, ScheduleRun
from shared.repositories.schedules import first_fire, set_next
from shared.states import JobKind, JobState, Lane, Overlap
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import MODEL, add_instance, add_model, admin_id

START = datetime(2026, 3, 27, 12, tzinfo=UTC)
NIGHTLY = "30 2 * * *"
JOB = {"model": MODEL, "priority": "routine", "label": "night", "explain": "positives", "every_version": False}
HOUR_S = 3600


class NoHints:
    """Hints that are lost, as hints may be."""

    def send(self, lane: Lane, count: int = 1) -> bool:
        return False


class Night:
    """A database with one schedule and a clock of its own."""

    def __init__(self, prepared: Prepared, *, now: datetime = START, **given: Any) -> None:
        self.prepared, self.now = prepared, now
        with UnitOfWork(prepared.engine) as uow:
            add_model(uow.session)
            self.schedule_id = add_schedule(uow, now, **given)

    def calendar(self) -> Calendar:
        settings = self.prepared.settings
        return Calendar(self.prepared.engine, NoHints(), settings, now=lambda session: self.now)  # type: ignore[arg-type]

    def at(self, moment: str) -> "Night":
        """Later, until nothing more is due."""
        self.now = datetime.fromisoformat(moment)
        calendar = self.calendar()
        while calendar.run():
            pass
        return self

    def store(self, count: int = 1, **given: Any) -> None:
        with UnitOfWork(self.prepared.engine) as uow:
            for _ in range(count):
                add_instance(uow.session, **given)

    def runs(self) -> list[tuple[str, str, str]]:
        with reading(self.prepared.engine) as session:
            rows = session.scalars(
                select(ScheduleRun).where(ScheduleRun.schedule_id == self.schedule_id).order_by(ScheduleRun.id)
            )
            return [(f"{run.fires_at:%m-%d %H:%M}", run.state.value, run.reason) for run in rows]

    def states(self) -> list[str]:
        return [state for _, state, _ in self.runs()]

    def jobs(self) -> list[tuple[int, JobState]]:
        with reading(self.prepared.engine) as session:
            jobs = session.scalars(select(Job).order_by(Job.id))
            return [(job.items_total, job.state) for job in jobs]

    def schedule(self) -> Schedule:
        with reading(self.prepared.engine) as session:
            return session.get_one(Schedule, self.schedule_id)


def add_schedule(uow: UnitOfWork, now: datetime, **given: Any) -> UUID:
    usual = {
        "name": "nightly",
        "cron": NIGHTLY,
        "time_zone": "Europe/Berlin",
        "overlap": Overlap.SKIP,
        "catch_up_s": 12 * HOUR_S,
        "jitter_s": 0,
        "min_new": 1,
        "request": JOB,
    }
    schedule = Schedule(
        id=new_id(),
        kind=JobKind.INFERENCE,
        principal_id=admin_id(uow.session),
        created_at=now,
        **usual | given,
    )
    set_next(schedule, first_fire(schedule.cron, schedule.time_zone, now))
    uow.session.add(schedule)
    return schedule.id
