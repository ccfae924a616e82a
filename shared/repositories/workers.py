"""Worker heartbeats."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.models import WorkerProcess

# A worker beats every few seconds; after this long it is taken for gone.
WORKER_SILENCE_S = 30.0


def beat(
    session: Session, name: str, *, lanes: Sequence[str], concurrency: int, engines: Sequence[str], rss_bytes: int
) -> None:
    """Say that a worker is alive and what it holds."""
    values = {
        "lanes": list(lanes),
        "concurrency": concurrency,
        "engines": list(engines),
        "rss_bytes": rss_bytes,
        "heartbeat_at": db_now(),
        "stopped_at": None,
    }
    known = session.get(WorkerProcess, name)
    if known is None:
        session.add(WorkerProcess(name=name, started_at=db_now(), **values))
        session.flush()
        return
    session.execute(update(WorkerProcess).where(WorkerProcess.name == name).values(**values))


def stop(session: Session, name: str) -> None:
    """Say that a worker ended by itself."""
    session.execute(update(WorkerProcess).where(WorkerProcess.name == name).values(stopped_at=db_now()))


def live_workers(session: Session) -> Sequence[WorkerProcess]:
    """Workers heard of lately."""
    statement = (
        select(WorkerProcess)
        .where(WorkerProcess.stopped_at.is_(None), WorkerProcess.heartbeat_at > db_now(-WORKER_SILENCE_S))
        .order_by(WorkerProcess.name)
    )
    return session.scalars(statement).all()
