"""What can go wrong on the command line, and the exit code of each."""

from typing import Any

from shared.errors import OverreadError, TransientError

EXIT_DIFFERS = 1  # a check found something that was altered
EXIT_REFUSED = 1  # the API, or the start of the system, said no
EXIT_USAGE = 2  # click's own code for a wrong command line
EXIT_UNREACHABLE = 3
EXIT_PARTIAL = 4  # a watched job ended with some failures
EXIT_FAILED = 5  # a watched job failed or was cancelled
EXIT_INTERRUPTED = 130


class ApiError(OverreadError):
    """The API refused; `problem` is its problem+json (RFC 9457), `{}` when it sent none."""

    def __init__(
        self, message: str, *, status: int, problem: dict[str, Any] | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.status = status
        self.problem = problem or {}
        self.retry_after_s = retry_after_s


class UnreachableError(TransientError):
    """No answer from the API: not running, wrong address, or the connection broke."""


class StartError(OverreadError):
    """The embedded system, or one of its services, cannot start."""


class WriteError(OverreadError):
    """A local file cannot be written."""


class ChangedFileError(OverreadError):
    """A local file changed or vanished while it was being sent."""
