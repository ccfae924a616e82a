"""A scheduler that is killed as it fires: the moment has one row and one job in the end, or none yet."""

import os
import signal
import subprocess
import sys

import pytest
from sqlalchemy import update

from scheduler.calendar import Calendar
from shared.db import reading
from shared.models import Job, Schedule, ScheduleRun
from shared.states import RunState
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import add_instance, add_model, rows_of
from tests.nights import START, NoHints, add_schedule

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
