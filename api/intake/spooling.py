"""One file as it arrives: bounded, hashed, on the store's disk, not yet named (arrow 1)."""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from shared.config import Settings
from shared.errors import InvalidDicomError, LimitExceededError, PermanentError
from shared.reasons import Reason
from shared.storage import ContentStore, SpooledBlob

ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
MAGIC_BYTES = 4
MAX_NAME_CHARACTERS = 255


@dataclass(frozen=True)
class ReceivedFile:
    """What became of one file of a request: its bytes, or the reason why they were refused."""

    name: str
    """As the client called it, fit to be shown back to the client; it names nothing on this side."""
    blob: SpooledBlob | None
    reason: Reason | None
    detail: str

    @classmethod
    def kept(cls, name: str, blob: SpooledBlob) -> Self:
        """A file whose bytes are here; from now on they are the caller's to keep or drop."""
        return cls(display_name(name), blob, None, "")

    @classmethod
    def refused(cls, name: str, error: PermanentError) -> Self:
        """A file that is not taken, and why."""
        return cls(display_name(name), None, error.recorded_reason, error.message)

    def drop(self) -> None:
        """Forget the bytes, if there are any."""
        if self.blob:
            self.blob.drop()


@dataclass(frozen=True)
class Cap:
    """The most bytes one file may have, and the reason to give when it has more."""

    max_bytes: int
    reason: Reason


def display_name(name: str) -> str:
    """The name without control, format and surrogate characters or line breaks, cut to 255 characters."""
    shown = (c for c in name if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    return "".join(shown)[:MAX_NAME_CHARACTERS]


def is_zip(head: bytes) -> bool:
    """Whether a file that starts with these bytes is a zip, whatever it is called."""
    return head.startswith(ZIP_MAGICS)


def spool_file(
    pieces: Iterable[bytes | memoryview], store: ContentStore, settings: Settings, cap_of: Callable[[bytes], Cap]
) -> tuple[SpooledBlob, bytes]:
    """Write one file's bytes to the store's temporary folder; returns them with their first four bytes.

    `cap_of` is asked with as many of the first four bytes as have come. A file that passes its cap, or is
    empty, raises a PermanentError; no error leaves anything behind.
    """
    head = b""
    with store.spool() as spool:
        for piece in pieces:
            head += bytes(piece[: MAGIC_BYTES - len(head)])
            cap = cap_of(head)
            if spool.size_bytes + len(piece) > cap.max_bytes:
                raise LimitExceededError(
                    f"the file is larger than the {cap.max_bytes} bytes that are accepted", reason=cap.reason
                )
            store.require_room(settings.min_free_bytes)
            spool.write(piece)
        if not spool.size_bytes:
            raise InvalidDicomError("the file holds no bytes", reason=Reason.EMPTY_FILE)
    return spool.finish(), head
