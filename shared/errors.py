"""The error family: what came, what was expected, what to do; never patient data."""

from typing import Any, ClassVar

from shared.reasons import Reason


class OverreadError(Exception):
    """Base of every error Overread raises; `message` is positional so that it survives pickling."""

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.context = context


class TransientError(OverreadError):
    """It may work when tried again: storage, database or broker trouble."""


class PermanentError(OverreadError):
    """Trying again gives the same answer; `reason` is recorded on the row it concerns."""

    reason: ClassVar[Reason] = Reason.INVALID

    @property
    def recorded_reason(self) -> Reason:
        """The reason for the row: of this error if it was given one, else of its class."""
        given = self.context.get("reason")
        return Reason(given) if given else self.reason


class InvalidDicomError(PermanentError):
    """The bytes are not a DICOM file that can be indexed."""

    reason = Reason.NOT_DICOM


class LimitExceededError(PermanentError):
    """The input claims or holds more than is allowed; nothing was allocated for it."""

    reason = Reason.TOO_LARGE


class DecodeError(PermanentError):
    """The pixel data cannot be turned into an array."""

    reason = Reason.DECODE_FAILED


class UnsupportedTransferSyntaxError(DecodeError):
    """No installed decoder reads this transfer syntax."""

    reason = Reason.UNSUPPORTED_TRANSFER_SYNTAX


class NotAcceptedError(PermanentError):
    """The model package does not accept this instance."""

    reason = Reason.NOT_ACCEPTED_BY_MODEL


class InvalidModelPackageError(PermanentError):
    """A model package breaks its contract; the message says which field and how to mend it."""

    reason = Reason.INVALID_MODEL_PACKAGE


class InvalidArchiveError(PermanentError):
    """A zip that is damaged, lies about itself, or holds more than is allowed."""

    reason = Reason.INVALID_ARCHIVE


class ChildCrashedError(PermanentError):
    """The limited child process died while it worked on this input."""

    reason = Reason.DECODE_CRASHED


class EngineCrashedError(PermanentError):
    """The engine's process died each time it predicted on this frame; `evidence` in the context says how and where."""

    reason = Reason.ENGINE_CRASHED


class EngineMemoryError(PermanentError):
    """The engine has not enough memory even for a batch of one frame."""

    reason = Reason.ENGINE_OUT_OF_MEMORY


class EngineLostError(OverreadError):
    """The engine's process died or would not start, by no frame's fault; `evidence` in the context says how and where.

    The shard that waited counts a crash.
    """


class EngineMissingError(PermanentError):
    """This machine has no such engine: it is not installed, or the hardware cannot do it."""

    reason = Reason.ENGINE_MISSING


class TooFewLabelsError(PermanentError):
    """There is not enough to learn from, or to choose by."""

    reason = Reason.TOO_FEW_LABELS


class NotTrainableError(PermanentError):
    """The package's network, or this worker, cannot be trained."""

    reason = Reason.NOT_TRAINABLE


class TrainingFailedError(PermanentError):
    """The training went astray and would again."""

    reason = Reason.TRAINING_FAILED


class NotFoundError(OverreadError):
    """No such thing, or not yours to see."""


class InvalidRequestError(OverreadError):
    """The request cannot be understood; `errors` in the context lists what and where."""


class UnsupportedMediaTypeError(OverreadError):
    """The request's body is of a type that is not read here."""


class MalformedRequestError(OverreadError):
    """The request's body cannot even be parsed."""


class ConflictError(OverreadError):
    """The request does not fit the present state of what it names."""


class SupersededError(ConflictError):
    """What the request was made for is not the newest any more: another came before it."""


class PreconditionRequiredError(OverreadError):
    """The request does not say which content it was made for."""


class IllegalTransitionError(ConflictError):
    """A move that the state table does not know."""


class IdempotencyMismatchError(OverreadError):
    """An Idempotency-Key came again with another payload."""


class AuthenticationError(OverreadError):
    """No token, or one that is unknown, expired or revoked."""


class ScopeError(OverreadError):
    """The token is good but lacks the scope this needs."""


class TooManyRequestsError(TransientError):
    """This token asked for more than it may at once; `retry_after_s` in the context says when there is room."""


class BusyError(TransientError):
    """As much as can be done at once is being done; try again shortly."""


class StorageUnavailableError(TransientError):
    """The content store cannot be read or written."""


class StorageFullError(TransientError):
    """The content store has no room for this; nothing was stored."""


class FontMissingError(OverreadError):
    """No font on this machine has the characters that a document is to be set in; the message says what to install."""


class NotAcceptableError(OverreadError):
    """There is nothing of a kind that the request accepts; the message says what there is."""


class FencedOutError(OverreadError):
    """This attempt no longer owns its shard (lease lost or job cancelled); discard what it holds."""
