"""A pool of limited child processes that threads share."""

import contextlib
import queue
import weakref
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from typing import Any, Self

from shared.errors import TransientError
from shared.sandbox.death import ChildDeathError
from shared.sandbox.process import LimitedProcess
from shared.sandbox.wire import ChildLimits, ChildReasons, Reply

MAX_TRIES = 2


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

    def call(self, request: dict[str, Any], *, payload_bytes: int = 0) -> Iterator[Reply]:
        """Send one request to a free child, waiting for one, and give its replies as they come.

        A reply may have a payload of at most `payload_bytes`; it is good until the next reply is asked for.

        Raises what the target raised (an OverreadError), or ChildCrashedError with a reason of this pool; where the
        child could not say itself what went wrong, its context has `evidence`: {"signal": how it died, "tries": how
        many children died, "log": where in the code the last one was}. Only the time spent waiting for the child
        counts against its limit, not what the caller does between two replies.
        A child that dies without a word may have been killed by anything, also by what an earlier request left in
        it; so the request is tried again in a fresh one, which passes over the replies that were given already, and
        is blamed when that one dies too. The target must give the same replies to the same request.
        """
        given = 0
        for tries in range(1, MAX_TRIES + 1):
            try:
                with closing(self._attempt(request, payload_bytes, is_retry=tries > 1)) as replies:
                    for reply in islice(replies, given, None):
                        given += 1
                        yield reply
            except ChildDeathError as death:
                if self._closed:
                    raise _stopping() from death
                if tries == MAX_TRIES or not death.silent:
                    raise death.blame(tries) from death
            else:
                return

    def _attempt(self, request: dict[str, Any], payload_bytes: int, *, is_retry: bool) -> Generator[Reply, None, None]:
        child = self._free.get()
        try:
            if child is None or is_retry or not child.is_alive():
                self._drop(child)
                child = None
                child = self._start()
            yield from child.ask(request, payload_bytes)
        finally:
            if child is not None and (self._closed or not child.idle):
                self._drop(child)
                child = None
            self._free.put(child)

    def close(self) -> None:
        """End every child; a call under way ends as a TransientError: no input is to blame."""
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
            raise _stopping()
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


def _stopping() -> TransientError:
    return TransientError("the pool of child processes is closed: the service is stopping, try again")


def _end_all(children: set[LimitedProcess]) -> None:
    while children:
        children.pop().end()
