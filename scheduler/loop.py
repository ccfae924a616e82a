"""The table of duties: which, how often; each is small and safe on several hosts at once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

import structlog
from sqlalchemy import Engine

from scheduler.aggregation.report import Aggregation
from scheduler.calendar import Calendar
from scheduler.hints import Hints
from scheduler.recovery import Recovery
from scheduler.seals import Sealing
from scheduler.sweep import sweep
from scheduler.tallies import fold_tallies, note_depths
from shared.config import Settings
from shared.queue import HintSender
from shared.repositories.pace import DEPTH_S
from shared.storage import ContentStore

log = structlog.get_logger()

SWEEP_INTERVAL_S = 600.0
# The last of many steps to a report: whoever waits for one has waited for all the others before.
AGGREGATION_INTERVAL_S = 0.2


@dataclass
class Duty:
    """Something done again and again; `run` says how much it did."""

    name: str
    interval_s: float
    run: Callable[[], int]
    due_at: float = 0.0


def make_duties(engine: Engine, hints: HintSender, store: ContentStore, settings: Settings) -> list[Duty]:
    """All duties, most urgent first."""
    aggregation = Aggregation(engine)
    return [
        Duty("recovery", settings.duty_interval_s, Recovery(engine, settings).run),
        Duty("hints", settings.duty_interval_s, Hints(engine, hints, settings).run),
        Duty("aggregation", min(AGGREGATION_INTERVAL_S, settings.duty_interval_s), aggregation.run),
        Duty("calendar", settings.duty_interval_s, Calendar(engine, hints, settings).run),
        Duty("seals", settings.duty_interval_s, Sealing(engine).run),
        Duty("tallies", settings.duty_interval_s, lambda: fold_tallies(engine)),
        Duty("depths", DEPTH_S, lambda: note_depths(engine)),
        Duty("sweep", SWEEP_INTERVAL_S, lambda: sweep(engine, store)),
    ]


def run_duties(duties: Sequence[Duty], stop: Event, *, tick_s: float) -> None:
    """Run what is due until `stop` is set; a duty that did something is due again at once."""
    while not stop.is_set():
        busy = False
        for duty in duties:
            if duty.due_at <= time.monotonic() and not stop.is_set():
                busy |= _run(duty) > 0
        if not busy:
            stop.wait(tick_s)


def _run(duty: Duty) -> int:
    """A duty that fails is tried at its next turn; the others go on."""
    done = 0
    try:
        done = duty.run()
    except Exception as error:  # noqa: BLE001 - the boundary between duties
        # The text and trace of an unforeseen error could hold patient data.
        log.error("duty_failed", duty=duty.name, error=type(error).__name__)  # noqa: TRY400
    duty.due_at = time.monotonic() + (0.0 if done else duty.interval_s)
    return done
