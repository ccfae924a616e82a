"""Whether stored bytes are what their name says; they are left where they lie, to be looked at."""

from dataclasses import dataclass

from shared.reasons import Reason
from shared.storage import ContentStore


@dataclass(frozen=True)
class Fault:
    """What is wrong with a blob."""

    told: str
    reason: Reason


def fault_of(store: ContentStore, sha256: str) -> Fault | None:
    """None where nothing is; reads it."""
    if store.is_whole(sha256):
        return None
    if store.exists(sha256):
        return Fault(f"blob {sha256}: the stored bytes are other bytes", Reason.BYTES_DIFFER)
    return Fault(f"blob {sha256}: the stored bytes are gone", Reason.BLOB_MISSING)
