"""A pool of limited child processes that threads share."""

import contextlib
import queue
import weakref
from collections.abc import Iterator
from typing import Any, Self

from shared.errors import TransientError
from shared.sandbox.process import LimitedProcess
from shared.sandbox.wire import ChildLimits, ChildReasons, Reply


class LimitedPool:
    """Runs `target` ("package.module:function") in limited children; started when needed, replaced when they die."""

    def __init__(self, target: str, *, processes: int, limits: ChildLimits, reasons: ChildReasons) -> None:
        self._target = target
        self._limits = limits
        self._reasons = reasons
        self._closed = False
        self._free: queue.LifoQueue[LimitedProcess | None] = queue.LifoQueue()
        for _ in range(processes):
            self._free.put(None)
        self._living: set[LimitedProcess] = set()
        self._finalizer = weakref.finalize(self, _end_all, self._living)

    def call(self, request: dict[str, Any]) -> Iterator[Reply]:
        """Send one request to a free child, waiting for one, and give its replies as they come.

        Raises what the target raised (an OverreadError), or ChildCrashedError with a reason of this pool. Only the
        time spent waiting for the child counts against its limit, not what the caller does between two replies.
        A request is blamed for a death without a word only when a fresh child died of it, so it may run twice.
        """
        child = self._free.get()
        try:
            if child is None or not child.accepts(request):
                self._drop(child)
                child = self._start()
                if not child.accepts(request):
                    raise child.lost()
            yield from child.replies()
        finally:
            if child is not None and (self._closed or not child.idle):
                self._drop(child)
                child = None
            self._free.put(child)

    def close(self) -> None:
        """End every child; a call under way ends as a crash."""
        self._closed = True
        for child in list(self._living):
            child.kill()  # only who holds a child closes its pipes: their numbers may be given out anew
        freed: list[LimitedProcess | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                freed.append(self._free.get_nowait())
        for idle in freed:
            self._drop(idle)
            self._free.put(None)  # callers that still wait must wake, and hear that the pool is closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> LimitedProcess:
        if self._closed:
            raise TransientError("the pool of child processes is closed: the service is stopping, try again")
        child = LimitedProcess(self._target, self._limits, self._reasons)
        self._living.add(child)
        try:
            child.wait_until_ready()
        except BaseException:
            self._drop(child)
            raise
        return child

    def _drop(self, child: LimitedProcess | None) -> None:
        if child is not None:
            self._living.discard(child)
            child.end()


def _end_all(children: set[LimitedProcess]) -> None:
    while children:
        children.pop().end()
