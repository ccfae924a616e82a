"""Faults inside the product's own processes, for `overread chaos`: off unless settings ask for them."""

import random

import structlog

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
        self._chance = random.Random(settings.fault_seed if settings else 0)  # noqa: S311 - chance, not a secret

    def is_on(self) -> bool:
        """True where any fault may strike."""
        return any((self._commit_error, self._hint_loss, self._hint_double))

    def after_commit(self) -> None:
        """Perhaps raise as if the connection had broken before the answer came: what is committed stays so."""
        if self._strikes(self._commit_error):
            # Here, so that who only sends hints needs no database.
            from sqlalchemy.exc import OperationalError

            raise OperationalError("COMMIT", None, InjectedFaultError("committed, and the answer was lost"))

    def copies_of_hint(self) -> int:
        """How often a hint is sent: once, or never, or twice."""
        if self._strikes(self._hint_loss):
            return 0
        return 2 if self._strikes(self._hint_double) else 1

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
    if faults().is_on():
        log.warning(
            "faults_on",
            commit_error_rate=settings.fault_commit_error_rate,
            hint_loss_rate=settings.fault_hint_loss_rate,
            hint_double_rate=settings.fault_hint_double_rate,
        )
