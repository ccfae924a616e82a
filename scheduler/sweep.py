"""The duty: remove what nobody can need any more."""

import time

from sqlalchemy import Engine, delete

from shared.clock import utc_now
from shared.models import IdempotencyKey
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork

# A file that no byte was added to for so long has no living request: files are taken in by the batch.
TEMPORARY_FILE_AGE_S = 3600.0


def sweep(engine: Engine, store: ContentStore) -> int:
    """Drop expired idempotency keys and temporary files of requests that died; returns how many files went."""
    with UnitOfWork(engine) as uow:
        uow.session.execute(delete(IdempotencyKey).where(IdempotencyKey.expires_at < utc_now()))
    return store.sweep(TEMPORARY_FILE_AGE_S, time.time())
