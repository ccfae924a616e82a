"""How a child was lost, and where it was then: the evidence that goes to the row of what it worked on."""

import os
import re
import signal

from shared.errors import ChildCrashedError
from shared.reasons import Reason

MAX_LOG_CHARACTERS = 2000
TIMEOUT = "timeout"
_PIPE_BYTES = 64 * 1024
# What faulthandler writes of the stack, innermost call first; the child is not trusted, so nothing else is taken.
_TOLD = re.compile(
    r"Fatal Python error: [\w ]{1,80}|(?:Stack|Current thread 0x[0-9a-f]{1,16}) \(most recent call first\):"
    r'|  File "[^"\n]{1,500}", line \d{1,9} in [\w.<>]{1,200}|  <no Python frame>'
)


class ChildDeathError(Exception):
    """A child was lost over a request; the pool decides whether that is tried again or blamed on the request.

    `how` is a signal's name, "exit code N", "timeout", or what else its parent ended it for.
    """

    def __init__(self, message: str, reason: Reason, how: str, *, log: str = "", silent: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.how = how
        self.log = log
        self.silent = silent
        """Whether it died without a word: that can be an accident, or what an earlier request left behind."""

    def blame(self, tries: int) -> ChildCrashedError:
        """The error for the request that this many children were lost over."""
        evidence = {"signal": self.how, "tries": tries, "log": self.log}
        return ChildCrashedError(self.message, reason=self.reason, evidence=evidence)


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


class CrashLog:
    """A pipe into which a dying child's faulthandler writes its stack: code positions, never data.

    Neither end waits: a child must be able to die while nobody reads, and its parent must not wait for its words.
    """

    def __init__(self) -> None:
        # The child inherits the writing end as standard error; who starts the child closes it on this side.
        reading, self.writing = os.pipe()
        for descriptor in (reading, self.writing):
            os.set_blocking(descriptor, False)
        self._reading = os.fdopen(reading, "rb", buffering=0)

    def text(self) -> str:
        """What the child told, once it is dead: the innermost calls, as many as fit."""
        said = self._reading.read(_PIPE_BYTES) or b""
        told = [line for line in said.decode("ascii", "replace").splitlines() if _TOLD.fullmatch(line)]
        return "\n".join(told)[:MAX_LOG_CHARACTERS]

    def close(self) -> None:
        """Close this side's end."""
        self._reading.close()
