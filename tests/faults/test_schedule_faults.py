"""Schedulers that are killed as they fire, and clocks that change while none runs: each owed night is settled once."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select, update

from scheduler.calendar import Calendar
from shared.db import reading
from shared.models import Item, Job, Schedule, ScheduleRun
from shared.states import JobState, Overlap, RunOrigin, RunState
from shared.unit_of_work import UnitOfWork
from tests.claimers import work_until_empty
from tests.conftest import Prepared
from tests.factories import add_instance, add_model, rows_of
from tests.faults.injection import has_struck, injecting
from tests.invariants import check_invariants
from tests.nights import JOB, START, NoHints, add_schedule
from tests.services import kill, start_service
from tests.system import eventually

# Fires everything that is due, and is killed when a job is made and nothing committed, or when all is.
KILLED = """
import os, signal, sys
import scheduler.calendar as calendar
from shared.config import load_settings
from shared.db import make_engine
from tests.nights import NoHints

def dies(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def start_then_die(*given):
    start(*given)
    dies()

settings = load_settings()
start = calendar.start_batch
if sys.argv[1] == "before":
    calendar.start_batch = start_then_die
engine = make_engine(settings)
calendar.Calendar(engine, NoHints(), settings).run()
dies()
"""

HOUR = timedelta(hours=1)
SETTLED_S = 60.0
# Zone, local time of the night, and the day on which its clocks change: a skipped hour, one that comes twice, and the
# same of half an hour.
CHANGES = [
    ("Europe/Berlin", time(2, 30), date(2026, 3, 29)),
    ("Europe/Berlin", time(2, 30), date(2026, 10, 25)),
    ("America/New_York", time(1, 30), date(2026, 3, 8)),
    ("America/New_York", time(1, 30), date(2026, 11, 1)),
    ("Australia/Lord_Howe", time(1, 45), date(2026, 4, 5)),
    ("Australia/Lord_Howe", time(2, 15), date(2026, 10, 4)),
]
# Of the owed nights: that of the change, and one whose job is still open when the next is due.
CHANGE, LEFT_OPEN = 2, 4


@dataclass(frozen=True)
class Outage:
    """When no scheduler runs, and the night at which one of the two was killed before."""

    killed_at: int
    begins_h: int

    def hours(self, owed: Sequence[datetime]) -> tuple[datetime, datetime]:
        """36 hours, counted from the night of the change."""
        begins = owed[CHANGE] + self.begins_h * HOUR
        return begins, begins + 36 * HOUR


# The clocks change while no scheduler runs; or just as one of two is killed.
OUTAGES = {"down over the change": Outage(CHANGE - 1, -6), "killed at the change": Outage(CHANGE, 3)}
POLICIES = [(Overlap.SKIP, 12 * HOUR), (Overlap.QUEUE, 48 * HOUR), (Overlap.CANCEL, 12 * HOUR)]


def _cases() -> list[Any]:
    """One is quick enough for every day."""
    every = list(product(["prepared", "postgres_prepared"], OUTAGES, CHANGES))
    return [
        pytest.param(
            *(database, OUTAGES[outage], *change),
            id=f"{database}-{outage}-{change[0]}-{change[2]}",
            marks=[pytest.mark.slow_fault] if at else [],
        )
        for at, (database, outage, change) in enumerate(every)
    ]


@pytest.mark.parametrize("when", ["before", "after"])
def test_moment_fires_once_when_its_scheduler_is_killed(any_prepared: Prepared, when: str) -> None:
    with UnitOfWork(any_prepared.engine) as uow:
        add_model(uow.session)
        add_instance(uow.session)
        add_schedule(uow, START)
        uow.session.execute(update(Schedule).values(catch_up_s=10 * 365 * 24 * 3600))

    command = [sys.executable, "-c", KILLED, when]
    environment = os.environ | any_prepared.settings.environment()
    died = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert died.returncode == -signal.SIGKILL, died.stderr
    with reading(any_prepared.engine) as session:
        assert rows_of(session, Job) == (1 if when == "after" else 0)
        assert (rows_of(session, ScheduleRun) > 0) is (when == "after")
    Calendar(any_prepared.engine, NoHints(), any_prepared.settings).run()  # type: ignore[arg-type]
    with reading(any_prepared.engine) as session:
        assert rows_of(session, Job) == 1
        assert rows_of(session, ScheduleRun, ScheduleRun.state == RunState.FIRED) == 1


def _owed_nights(zone: ZoneInfo, wall: time, change: date) -> list[datetime]:
    """Two nights before that of the change, and four after it, in UTC.

    Each is the first minute of a local day at which the clocks show the named time or a later one: where a time is
    skipped the end of the gap, where it comes twice the first of the two. Every minute's clock is looked at.
    """
    begins, ends = (datetime.combine(change + timedelta(days), time(), zone) for days in (-2, 5))
    nights: dict[date, datetime] = {}
    for minute in range(int((ends.timestamp() - begins.timestamp()) / 60)):
        moment = begins.astimezone(UTC) + timedelta(minutes=minute)
        shown = moment.astimezone(zone)
        if shown.time() >= wall:
            nights.setdefault(shown.date(), moment)
    return list(nights.values())


def _decisions(
    owed: Sequence[datetime], outage: tuple[datetime, datetime], overlap: Overlap, catch_up: timedelta
) -> list[tuple[datetime, datetime, RunState, str]]:
    """Of every owed night: when it is looked at, what is to become of it, and words of the reason."""
    decided = []
    for night in owed:
        looked_at = outage[1] if outage[0] < night < outage[1] else night
        if looked_at - night > catch_up:
            what = RunState.MISSED, "no scheduler ran"
        elif any(night < other <= looked_at for other in owed):
            what = RunState.SKIPPED, "a later moment"
        elif night == owed[LEFT_OPEN + 1] and overlap is Overlap.SKIP:
            what = RunState.SKIPPED, "still open"
        else:
            what = RunState.FIRED, "new instance"
        decided.append((night, looked_at, *what))
    return decided


class _Pair:
    """Two scheduler processes, whose calendars go by a clock that the test sets; there is no leader of them."""

    def __init__(self, prepared: Prepared, folder: Path, dies_at: datetime) -> None:
        self._prepared, self._folder = prepared, folder
        plan = {"dies_at": dies_at.isoformat(), "lingers_s": 0.5}
        self._environment = injecting(folder, simulated_time=plan)
        self._settings = prepared.settings.model_copy(update={"duty_interval_s": 0.05})
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.processes = [start_service("scheduler", self._settings, self._environment) for _ in range(2)]

    def kill(self) -> None:
        for process in self.processes:
            kill(process)

    def ended(self) -> list[int]:
        """By which signals they were ended, of those that were."""
        return [code for process in self.processes if (code := process.poll()) is not None]

    def show(self, now: datetime) -> None:
        """Whole at any instant: they read it all the time."""
        unfinished = self._folder / "now.new"
        unfinished.write_text(now.isoformat())
        unfinished.replace(self._folder / "now")

    def settle(self, now: datetime) -> None:
        """Wait until nothing is due any more."""
        due = select(func.count()).select_from(Schedule).where(Schedule.due_at <= now)
        eventually(lambda: self._count(due) == 0, SETTLED_S, f"what is due at {now} is settled", interval_s=0.02)

    def work(self) -> None:
        """End all jobs, also those that wait for the end of others."""
        waiting = select(func.count()).select_from(ScheduleRun).where(ScheduleRun.state == RunState.WAITING)
        work_until_empty(self._prepared.engine, "worker-1")
        eventually(lambda: self._count(waiting) == 0, SETTLED_S, "nothing waits", interval_s=0.02)
        work_until_empty(self._prepared.engine, "worker-1")

    def _count(self, statement: Any) -> int:
        with reading(self._prepared.engine) as session:
            return int(session.scalar(statement))


def _add_schedules(prepared: Prepared, now: datetime, cron: str, zone: str) -> list[UUID]:
    """One of each policy, each with a model of its own, to which each instance is new once."""
    added = []
    with UnitOfWork(prepared.engine) as uow:
        for overlap, catch_up in POLICIES:
            add_model(uow.session, overlap.value)
            given = {"name": overlap.value, "overlap": overlap, "request": JOB | {"model": overlap.value}}
            given |= {"cron": cron, "time_zone": zone, "catch_up_s": int(catch_up.total_seconds())}
            added.append(add_schedule(uow, now, **given))
    return added


@pytest.mark.parametrize(("any_prepared", "outage", "zone", "wall", "change"), _cases(), indirect=["any_prepared"])
def test_each_owed_night_is_settled_once_when_schedulers_die_as_clocks_change(
    any_prepared: Prepared, data_dir: Path, outage: Outage, zone: str, wall: time, change: date
) -> None:
    """Two scheduler processes beside each other: one is killed as it fires, both are gone for 36 hours.

    The oracle knows time zone, policy and outage alone: which nights are owed it finds by looking at the clock of each
    minute, and what is to become of each, and when, by rules of its own. Every schedule has exactly these rows, as many
    jobs as nights that fired, and no image in two jobs; when one of the two is killed the other one goes on.
    """
    owed = _owed_nights(ZoneInfo(zone), wall, change)
    down = outage.hours(owed)
    begins = owed[0] - HOUR
    looks = sorted([down[1], *(night for night in owed if not down[0] < night < down[1])])
    schedules = _add_schedules(any_prepared, begins, f"{wall.minute} {wall.hour} * * *", zone)
    pair = _Pair(any_prepared, data_dir / "inject", owed[outage.killed_at])
    pair.show(begins)
    pair.start()
    try:
        for now in looks:
            if now == down[1]:
                pair.kill()
            with UnitOfWork(any_prepared.engine) as uow:
                add_instance(uow.session)
            pair.show(now)
            if now == down[1]:
                pair.start()
            pair.settle(now)
            if now == owed[outage.killed_at]:
                assert has_struck(data_dir / "inject", "simulated_time")
                eventually(lambda: pair.ended() == [-signal.SIGKILL], SETTLED_S, "one of the two is dead")
            if now != owed[LEFT_OPEN]:
                pair.work()
    finally:
        pair.kill()

    assert len(owed) == 7
    fired = 0
    for schedule_id, policy in zip(schedules, POLICIES, strict=True):
        runs, wanted = _runs(any_prepared, schedule_id), _decisions(owed, down, *policy)
        assert [(run.fires_at, run.decided_at, run.state) for run in runs] == [one[:3] for one in wanted]
        assert all(words in run.reason for run, (*_, words) in zip(runs, wanted, strict=True))
        assert {run.origin for run in runs} == {RunOrigin.CALENDAR}
        started = [run.job_id for run in runs if run.state is RunState.FIRED]
        assert len(started) == len(set(started) - {None}) == sum(run.job_id is not None for run in runs)
        fired += len(started)
    _check_jobs(any_prepared, fired)


def _runs(prepared: Prepared, schedule_id: UUID) -> Sequence[ScheduleRun]:
    with reading(prepared.engine) as session:
        found = select(ScheduleRun).where(ScheduleRun.schedule_id == schedule_id).order_by(ScheduleRun.fires_at)
        return session.scalars(found).all()


def _check_jobs(prepared: Prepared, fired: int) -> None:
    """As many as nights that fired; one was cancelled, as the policy says; nobody predicts on an image twice."""
    with reading(prepared.engine) as session:
        states = Counter(session.scalars(select(Job.state)))
        asked = select(func.count()).select_from(Item).group_by(Item.model_version_id, Item.instance_id)
        assert set(session.scalars(asked)) == {1}
    assert states == {JobState.DONE: fired - 1, JobState.CANCELLED: 1}
    check_invariants(prepared.engine)
