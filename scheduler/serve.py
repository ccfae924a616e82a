"""Runs the scheduler: `python -m scheduler.serve`."""

import signal
from threading import Event, Thread

from scheduler.loop import make_duties, run_duties
from scheduler.notices.sender import Sender
from shared.collector import leave_out_of_collections
from shared.config import load_settings
from shared.db import make_engine
from shared.faults import arm
from shared.logging import set_up_logging
from shared.queue import HintSender, make_celery
from shared.storage import ContentStore

TICK_S = 0.2


def main() -> None:
    """Run duties, and beside them send notices, until ended by TERM or INT."""
    set_up_logging()
    settings = load_settings()
    arm(settings)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine, hints = make_engine(settings), HintSender(make_celery(settings))
    sender = Sender(engine, settings)
    sending = Thread(target=sender.run, name="notices")
    sending.start()
    duties = make_duties(engine, hints, ContentStore(settings.store_dir), settings)
    leave_out_of_collections()
    try:
        run_duties(duties, stop, tick_s=TICK_S)
    finally:
        sender.stop()
        sending.join()


if __name__ == "__main__":
    main()
