"""Faults inside the processes: never by accident, and as often as was asked for."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from celery import Celery
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from shared.clock import utc_now
from shared.config import Settings
from shared.db import db_now
from shared.faults import Faults, arm, faults
from shared.queue import HintSender
from shared.states import Lane
from shared.unit_of_work import UnitOfWork


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm(Settings())


class _Broker(Celery):
    sent = 0

    def send_task(self, *_: object, **__: object) -> None:  # type: ignore[override]
        self.sent += 1


def test_no_fault_strikes_when_settings_are_the_usual() -> None:
    with capture_logs() as logs:
        arm(Settings())

    assert not faults().is_on()
    assert logs == []
    assert {faults().copies_of_hint() for _ in range(1000)} == {1}
    for _ in range(1000):
        faults().after_commit()


def test_clocks_of_processes_are_wrong_by_their_own_times() -> None:
    wrong = Faults(Settings(fault_clock_error_s=7200.0))
    errors_s = [wrong.clock_error_s(process) for process in range(200)]

    assert len(set(errors_s)) == len(errors_s)
    assert -7200.0 <= min(errors_s) < -5000.0 < 5000.0 < max(errors_s) <= 7200.0


def test_only_what_is_shown_is_wrong_when_the_clock_of_this_process_is() -> None:
    arm(Settings(fault_clock_error_s=7200.0))
    error_s = (utc_now() - datetime.now(UTC)).total_seconds()
    engine = create_engine("sqlite://")

    with engine.connect() as connection:
        by_database_s = (connection.execute(select(db_now())).scalar_one() - datetime.now(UTC)).total_seconds()

    assert error_s == pytest.approx(faults().clock_error_s(os.getpid()), abs=1.0)
    assert by_database_s == pytest.approx(0.0, abs=1.0)


def test_start_warns_when_faults_are_on() -> None:
    with capture_logs() as logs:
        arm(Settings(fault_commit_error_rate=0.5))

    assert [(line["event"], line["log_level"]) for line in logs] == [("faults_on", "warning")]


def test_transaction_is_kept_when_its_commit_seems_to_fail() -> None:
    arm(Settings(fault_commit_error_rate=1.0))
    engine = create_engine("sqlite://")

    with pytest.raises(OperationalError, match="answer was lost"), UnitOfWork(engine) as uow:
        uow.session.execute(text("CREATE TABLE kept (id INTEGER)"))

    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM kept")).scalar_one() == 0


@pytest.mark.parametrize(("name", "sent"), [("loss", 0), ("double", 20)])
def test_hints_are_lost_or_doubled_when_settings_say_so(name: str, sent: int) -> None:
    arm(Settings.model_validate({f"fault_hint_{name}_rate": 1.0}))
    broker = _Broker()

    assert HintSender(broker).send(Lane.ROUTINE, 10)

    assert broker.sent == sent


def test_faults_are_the_same_by_seed() -> None:
    def copies(seed: int) -> list[int]:
        faults = Faults(Settings(fault_seed=seed, fault_hint_loss_rate=0.2, fault_hint_double_rate=0.3))
        return [faults.copies_of_hint() for _ in range(2000)]

    counts = Counter(copies(7))

    assert copies(7) == copies(7) != copies(8)
    assert counts[0] == pytest.approx(400, abs=80)
    assert counts[2] == pytest.approx(480, abs=80)
