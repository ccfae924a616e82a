"""How the engine's process was lost, and the errors made of that."""

from shared.errors import EngineCrashedError, EngineLostError
from shared.reasons import Reason

TIMEOUT = "timeout"
# Nothing in a network sends this signal: the kernel does when memory runs out, or a person.
KILLED = "SIGKILL"


class EngineDeathError(Exception):
    """The engine's process ended or had to be ended; `worker.inference.batch` decides who is told.

    `how` is a signal's name, "exit code N", "timeout", or the class of what the engine raised; `begun` is False when it
    ended before it took up what it was asked, so that this cannot be to blame.
    """

    def __init__(self, message: str, how: str, *, log: str = "", begun: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.how = how
        self.log = log
        self.begun = begun

    def blame(self, tries: int) -> EngineCrashedError:
        """The error for the frame that this many processes were lost over."""
        return EngineCrashedError(
            f"{self.message}, as it did {tries} times in all while it predicted on this frame, in the end on it alone; "
            "look at the frame and at the model",
            reason=Reason.ENGINE_TIMEOUT if self.how == TIMEOUT else Reason.ENGINE_CRASHED,
            evidence={"signal": self.how, "tries": tries, "log": self.log},
        )

    def blame_load(self, tries: int) -> EngineCrashedError:
        """The error for an engine that this many processes were lost over while they loaded it."""
        return EngineCrashedError(
            f"{self.message}, as it did {tries} times in all while it loaded this engine; look at the model",
            reason=Reason.ENGINE_TIMEOUT if self.how == TIMEOUT else Reason.ENGINE_CRASHED,
        )

    def lost(self) -> EngineLostError:
        """The error for whoever waits for a model that this process was loading."""
        return EngineLostError(
            f"{self.message} while it loaded the model",
            reason=Reason.ENGINE_TIMEOUT if self.how == TIMEOUT else Reason.ENGINE_CRASHED,
            evidence={"signal": self.how, "log": self.log},
        )
