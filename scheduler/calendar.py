"""The duty: fire what is due. Each owed moment becomes a row, and the job of a fire is made in the same transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from scheduler.batch import start_batch
from scheduler.training import start_training
from shared.config import Settings
from shared.cron import fires_after
from shared.db import database_time, reading
from shared.errors import OverreadError
from shared.models import Schedule, ScheduleRun
from shared.models.schedule import MAX_REASON
from shared.queue import HintSender
from shared.repositories.jobs import request_cancel
from shared.repositories.schedules import (
    due_at,
    last_runs,
    lock_schedule,
    open_job_of,
    set_next,
    to_look_at,
    waiting_run,
)
from shared.states import JobKind, Overlap, RunOrigin, RunState
from shared.unit_of_work import UnitOfWork

log = structlog.get_logger()

# Of a long downtime so many moments are told in one transaction; the others in the next.
MOST_OWED = 500
MOST_FAILURES = 3
ACTOR = "scheduler"


@dataclass(frozen=True)
class Verdict:
    """What becomes of a moment."""

    state: RunState
    reason: str = ""
    job_id: UUID | None = None
    more: bool = False


class Calendar:
    """Fires schedules; any number of these side by side fire each moment once: the schedule's row is locked."""

    def __init__(
        self, engine: Engine, hints: HintSender, settings: Settings, now: Callable[[Session], datetime] = database_time
    ) -> None:
        self._engine = engine
        self._hints = hints
        self._settings = settings
        self._now = now

    def run(self) -> int:
        """Look at what is due or waits; returns how many moments were settled."""
        with reading(self._engine) as session:
            found = to_look_at(session, self._now(session))
        return sum(self._look_at(schedule_id) for schedule_id in found)

    def _look_at(self, schedule_id: UUID) -> int:
        try:
            with UnitOfWork(self._engine, self._hints) as uow:
                schedule = lock_schedule(uow.session, schedule_id)
                if schedule is None:
                    return 0
                now = self._now(uow.session)
                return self._go_on(uow, schedule, now) + self._settle(uow, schedule, now)
        except Exception as error:  # noqa: BLE001 - one schedule's trouble costs no other; its text could tell of patients
            log.error("schedule_failed", schedule=str(schedule_id), error=type(error).__name__)  # noqa: TRY400
            return 0

    def _go_on(self, uow: UnitOfWork, schedule: Schedule, now: datetime) -> int:
        """Start the run that waits, once the job before it is over."""
        waiting = waiting_run(uow.session, schedule.id)
        if waiting is None or open_job_of(uow.session, schedule.id) is not None:
            return 0
        verdict = self._start(uow, schedule)
        _tell(waiting, verdict)
        waiting.decided_at = now
        self._follow_up(uow.session, schedule, verdict, now)
        return 1

    def _settle(self, uow: UnitOfWork, schedule: Schedule, now: datetime) -> int:
        """A row for each moment that is owed; of several only the last may fire."""
        if schedule.paused_at is not None or schedule.due_at is None or schedule.due_at > now:
            return 0
        owed, following = _owed(schedule, now)
        for fires_at in owed:
            is_last = fires_at is owed[-1] and (following is None or due_at(schedule, following) > now)
            if now - due_at(schedule, fires_at) > timedelta(seconds=schedule.catch_up_s):
                verdict = Verdict(RunState.MISSED, "no scheduler ran until its catch-up window was over")
            elif not is_last:
                verdict = Verdict(RunState.SKIPPED, "a later moment of the schedule was due by then too")
            else:
                verdict = self._fire(uow, schedule)
            _record(uow.session, schedule, fires_at, verdict, now)
            self._follow_up(uow.session, schedule, verdict, now)
        if following is None:
            _pause(schedule, "its cron expression names no further day", now)
        else:
            set_next(schedule, following)
        return len(owed)

    def _fire(self, uow: UnitOfWork, schedule: Schedule) -> Verdict:
        """Start a run, or do as the overlap policy says."""
        running = open_job_of(uow.session, schedule.id)
        if running is None:
            return self._start(uow, schedule)
        if schedule.overlap is Overlap.CANCEL:
            verdict = self._start(uow, schedule)
            if verdict.state is RunState.FIRED:  # what has nothing to follow it goes on
                request_cancel(uow.session, running, actor=ACTOR)
            return verdict
        if schedule.overlap is Overlap.QUEUE and waiting_run(uow.session, schedule.id) is None:
            return Verdict(RunState.WAITING, "the job of the run before is still open")
        also = " and a run waits for it already" if schedule.overlap is Overlap.QUEUE else ""
        return Verdict(RunState.SKIPPED, f"the job of the run before is still open{also}")

    def _start(self, uow: UnitOfWork, schedule: Schedule) -> Verdict:
        try:
            with uow.session.begin_nested():
                if schedule.kind is JobKind.TRAINING:
                    job_id, told, more = start_training(uow, schedule)
                else:
                    job_id, told, more = start_batch(uow, schedule, self._settings)
        except OverreadError as error:
            return Verdict(RunState.FAILED, error.message)
        return Verdict(RunState.SKIPPED if job_id is None else RunState.FIRED, told, job_id, more)

    def _follow_up(self, session: Session, schedule: Schedule, verdict: Verdict, now: datetime) -> None:
        """What a run left over comes when its job is over; a schedule that only fails is paused."""
        if verdict.more and waiting_run(session, schedule.id) is None:
            rest = Verdict(RunState.WAITING, "the rest of what the run before found")
            _record(session, schedule, now, rest, now, RunOrigin.REST)
        if verdict.state is not RunState.FAILED:
            return
        if [run.state for run in last_runs(session, schedule.id, MOST_FAILURES)] == [RunState.FAILED] * MOST_FAILURES:
            _pause(schedule, f"{MOST_FAILURES} runs failed one after the other: {verdict.reason}", now)


def _owed(schedule: Schedule, now: datetime) -> tuple[Sequence[datetime], datetime | None]:
    """The moments that are due, oldest first, and the one after them."""
    owed: list[datetime] = []
    moments = chain([schedule.fires_at], fires_after(schedule.cron, schedule.time_zone, schedule.fires_at))
    for fires_at in moments:
        if due_at(schedule, fires_at) > now or len(owed) == MOST_OWED:
            return owed, fires_at
        owed.append(fires_at)
    return owed, None


def _record(
    session: Session,
    schedule: Schedule,
    fires_at: datetime,
    verdict: Verdict,
    now: datetime,
    origin: RunOrigin = RunOrigin.CALENDAR,
) -> None:
    run = ScheduleRun(schedule_id=schedule.id, fires_at=fires_at, origin=origin, decided_at=now)
    _tell(run, verdict)
    session.add(run)


def _tell(run: ScheduleRun, verdict: Verdict) -> None:
    run.state, run.reason, run.job_id = verdict.state, verdict.reason[:MAX_REASON], verdict.job_id


def _pause(schedule: Schedule, reason: str, now: datetime) -> None:
    schedule.paused_at, schedule.pause_reason = now, reason[:MAX_REASON]
