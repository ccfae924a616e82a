"""Worker heartbeats."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.models import WorkerProcess


@dataclass(frozen=True)
class Beat:
    """What a worker says of itself; `engines` and `loading` name models by the first characters of their digest."""

    lanes: list[str]
    concurrency: int
    engines: list[str]
    loading: list[str]
    rss_bytes: int


def beat(session: Session, name: str, said: Beat) -> None:
    """Note that a worker is alive and what it holds."""
    values = vars(said) | {"heartbeat_at": db_now(), "stopped_at": None}
    known = session.get(WorkerProcess, name)
    if known is None:
        session.add(WorkerProcess(name=name, started_at=db_now(), **values))
        session.flush()
        return
    session.execute(update(WorkerProcess).where(WorkerProcess.name == name).values(**values))


def stop(session: Session, name: str) -> None:
    """Say that a worker ended by itself."""
    session.execute(update(WorkerProcess).where(WorkerProcess.name == name).values(stopped_at=db_now()))


def live_workers(session: Session, silence_s: float) -> Sequence[WorkerProcess]:
    """Workers heard of within so many seconds; they beat several times in a lease."""
    statement = (
        select(WorkerProcess)
        .where(WorkerProcess.stopped_at.is_(None), WorkerProcess.heartbeat_at > db_now(-silence_s))
        .order_by(WorkerProcess.name)
    )
    return session.scalars(statement).all()
