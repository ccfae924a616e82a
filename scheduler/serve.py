"""Runs the scheduler: `python -m scheduler.serve`."""

import signal
from threading import Event

from scheduler.loop import make_duties, run_duties
from shared.config import load_settings
from shared.db import make_engine
from shared.faults import arm
from shared.logging import set_up_logging
from shared.queue import HintSender, make_celery
from shared.storage import ContentStore

TICK_S = 0.2


def main() -> None:
    """Run duties until ended by TERM or INT."""
    set_up_logging()
    settings = load_settings()
    arm(settings)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    hints = HintSender(make_celery(settings))
    duties = make_duties(make_engine(settings), hints, ContentStore(settings.store_dir), settings)
    run_duties(duties, stop, tick_s=TICK_S)


if __name__ == "__main__":
    main()
