"""Threads of one process write to SQLite one after the other, without asking the database again and again."""

import threading

from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared

WAIT_S = 10.0


def writing(prepared: Prepared) -> threading.Event:
    """Write in a thread; the event is set once it may."""
    entered = threading.Event()

    def write() -> None:
        with UnitOfWork(prepared.engine):
            entered.set()

    threading.Thread(target=write, daemon=True).start()
    return entered


def test_thread_writes_once_the_one_before_has_committed(prepared: Prepared) -> None:
    with UnitOfWork(prepared.engine):
        entered = writing(prepared)
        assert not entered.wait(0.05)

    assert entered.wait(WAIT_S)


def test_thread_writes_once_the_one_before_has_failed(prepared: Prepared) -> None:
    first = UnitOfWork(prepared.engine).__enter__()
    entered = writing(prepared)
    assert not entered.wait(0.05)

    first.__exit__(ValueError, ValueError(), None)

    assert entered.wait(WAIT_S)
