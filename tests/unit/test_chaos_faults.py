"""Faults inside the processes: never by accident, and as often as was asked for."""

from collections import Counter
from collections.abc import Iterator

import pytest
from celery import Celery
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from shared import faults as module
from shared.config import Settings
from shared.faults import Faults, arm, faults
from shared.queue import HintSender
from shared.states import Lane
from shared.unit_of_work import UnitOfWork


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    module._of_process[0] = Faults()


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
