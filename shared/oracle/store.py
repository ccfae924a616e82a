"""The content store has the bytes that the rows name, and no rest of a request that died long ago."""

import contextlib
import random
import time
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.models import Blob
from shared.oracle.findings import Finding, Verdict, gather, stream
from shared.states import EraseState
from shared.storage import ContentStore

# The scheduler removes temporary files after an hour, and looks every ten minutes.
TEMPORARY_GRACE_S = 2 * 3600.0


def check_store(session: Session, store: ContentStore, sample: int) -> Iterator[Finding]:
    """All blobs, or so many chosen at random; every file is read and hashed."""
    rows = stream(session, select(Blob.sha256).where(Blob.erase_state == EraseState.PRESENT).order_by(Blob.sha256))
    digests = [row[0] for row in rows]
    if sample and sample < len(digests):
        digests = random.sample(digests, sample)
    missing, damaged = [], []
    for sha256 in digests:
        if not store.exists(sha256):
            missing.append(f"blob {sha256}")
        elif not store.is_whole(sha256):
            damaged.append(f"blob {sha256}")
    yield from gather(Verdict.LOST, "the bytes of a blob are gone", missing)
    yield from gather(Verdict.LOST, "the bytes of a blob are damaged", damaged)
    yield from gather(Verdict.WRONG, "a temporary file outlived its request", _old_temporary_files(store))


def _old_temporary_files(store: ContentStore) -> Iterator[str]:
    for path in (store.root / "tmp").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > TEMPORARY_GRACE_S:
                yield path.name
