"""Shards work in company, suspects alone: while one is tried that may kill the worker, nobody else gets the blame."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WAKE_S = 1.0


class Company:
    """Many in company or one alone; who wants to be alone is let in before those who come after."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = False
        self._wanting = 0

    @contextmanager
    def shared(self, while_waiting: Callable[[], None]) -> Iterator[None]:
        """Work beside others; calls `while_waiting` about once a second until it may begin."""
        with self._changed:
            while self._alone or self._wanting:
                self._wait(while_waiting)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, while_waiting: Callable[[], None]) -> Iterator[None]:
        """Work with nobody beside; calls `while_waiting` about once a second until it may begin."""
        with self._changed:
            self._wanting += 1
            try:
                while self._alone or self._inside:
                    self._wait(while_waiting)
            finally:
                self._wanting -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    def _wait(self, while_waiting: Callable[[], None]) -> None:
        self._changed.wait(WAKE_S)
        while_waiting()
