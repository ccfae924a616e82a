"""Faults inside the product's own processes, for `overread chaos`: off unless settings ask for them."""

import os
import random

import structlog

from shared.clock import be_wrong_by
from shared.config import Settings

log = structlog.get_logger()


class InjectedFaultError(Exception):
    """What the driver of a database would have raised."""


class Faults:
    """Decides by chance where a fault strikes; at rates of 0 none does."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._commit_error = settings.fault_commit_error_rate if settings else 0.0
        self._hint_loss = settings.fault_hint_loss_rate if settings else 0.0
        self._hint_double = settings.fault_hint_double_rate if settings else 0.0
        self._clock_error_s = settings.fault_clock_error_s if settings else 0.0
        self._chance = random.Random(settings.fault_seed if settings else 0)  # noqa: S311 - chance, not a secret

    def is_on(self) -> bool:
        """True where any fault may strike."""
        return any((self._commit_error, self._hint_loss, self._hint_double, self._clock_error_s))

    def after_commit(self) -> None:
        """Perhaps raise as if the connection had broken before the answer came: what is committed stays so."""
        if self._strikes(self._commit_error):
            # Here, so that who only sends hints needs no database.
            from sqlalchemy.exc import OperationalError

            log.warning("fault_struck", fault="commit error")
            raise OperationalError("COMMIT", None, InjectedFaultError("committed, and the answer was lost"))

    def copies_of_hint(self) -> int:
        """How often a hint is sent: once, or never, or twice."""
        if self._strikes(self._hint_loss):
            return 0
        return 2 if self._strikes(self._hint_double) else 1

    def clock_error_s(self, process: int) -> float:
        """By how much the clock of the process of this number is wrong: each by another time."""
        return random.Random(process).uniform(-self._clock_error_s, self._clock_error_s)  # noqa: S311 - as above

    def _strikes(self, rate: float) -> bool:
        return rate > 0.0 and self._chance.random() < rate


# The process's own: replaced once at its start, before it serves.
_of_process: list[Faults] = [Faults()]


def faults() -> Faults:
    """Those of this process."""
    return _of_process[0]


def arm(settings: Settings) -> None:
    """Set this process's faults as the settings say, and warn where there are any."""
    _of_process[0] = Faults(settings)
    clock_error_s = faults().clock_error_s(os.getpid())
    be_wrong_by(clock_error_s)
    if faults().is_on():
        log.warning(
            "faults_on",
            commit_error_rate=settings.fault_commit_error_rate,
            hint_loss_rate=settings.fault_hint_loss_rate,
            hint_double_rate=settings.fault_hint_double_rate,
            clock_error_s=round(clock_error_s),
        )
