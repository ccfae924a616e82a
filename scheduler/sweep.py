"""The duty: remove what nobody can need any more."""

import time
from collections.abc import Sequence

import structlog
from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from shared.db import db_now, reading
from shared.models import Blob, IdempotencyKey
from shared.repositories.imaging import lock_index
from shared.repositories.pace import drop_old
from shared.repositories.parts import in_parts
from shared.repositories.training import drop_ended_checkpoints
from shared.storage import FOLDERS, ContentStore
from shared.unit_of_work import UnitOfWork

log = structlog.get_logger()

# A file that no byte was added to for so long has no living request: it waits for its batch, which ends soon after the
# file that comes next, however slowly that one comes.
TEMPORARY_FILE_AGE_S = 6 * 3600.0
# Between a blob and its row lies one batch; after so long the request that would have made the row is dead.
ORPHAN_AGE_S = 3600.0
# A sweep looks into a few of the store's folders, so that it stays short; all get their turn in half a day.
FOLDERS_AT_ONCE = 4
TURN_S = 600.0
ORPHANS_AT_ONCE = 200


def sweep(engine: Engine, store: ContentStore) -> int:
    """Drop what is over: expired rows, checkpoints, temporary files of dead requests, blobs without a row.

    Returns how many files went.
    """
    with UnitOfWork(engine) as uow:
        uow.session.execute(delete(IdempotencyKey).where(IdempotencyKey.expires_at < db_now()))
        drop_old(uow.session)
    with UnitOfWork(engine) as uow:
        lock_index(uow.session)
        drop_ended_checkpoints(uow.session, ORPHANS_AT_ONCE)
    temporary = store.sweep(TEMPORARY_FILE_AGE_S, time.time())
    return temporary + remove_orphans(engine, store, folders_of_turn(int(time.time() // TURN_S)))


def folders_of_turn(turn: int) -> Sequence[str]:
    """The folders that this turn looks into: the next few of them, and after the last the first again."""
    start = turn * FOLDERS_AT_ONCE % len(FOLDERS)
    return FOLDERS[start : start + FOLDERS_AT_ONCE]


def remove_orphans(
    engine: Engine, store: ContentStore, folders: Sequence[str], *, older_than_s: float = ORPHAN_AGE_S
) -> int:
    """Remove blobs that no row names: their request died between storing and indexing them."""
    removed = 0
    for folder in folders:
        old = store.old_blobs(folder, older_than_s)
        if old:
            with reading(engine) as session:
                orphans = _without_row(session, old)
            removed += _remove(engine, store, orphans[:ORPHANS_AT_ONCE], older_than_s)
    return removed


def _remove(engine: Engine, store: ContentStore, orphans: Sequence[str], older_than_s: float) -> int:
    """Remove them under the lock that an upload takes before it makes rows of bytes that it found here."""
    if not orphans:
        return 0
    with UnitOfWork(engine) as uow:
        lock_index(uow.session)
        doomed = [sha256 for sha256 in _without_row(uow.session, orphans) if store.is_old(sha256, older_than_s)]
        for sha256 in doomed:
            store.remove(sha256)
    log.info("orphans_removed", blobs=len(doomed))
    return len(doomed)


def _without_row(session: Session, digests: Sequence[str]) -> list[str]:
    known: set[str] = set()
    for some in in_parts(digests):
        known.update(session.scalars(select(Blob.sha256).where(Blob.sha256.in_(some))))
    return [sha256 for sha256 in digests if sha256 not in known]
