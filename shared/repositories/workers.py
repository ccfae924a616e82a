"""Worker heartbeats, and what each worker has in hand."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.models import Shard, WorkerProcess
from shared.states import Lane, ShardState


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


def silent_workers(session: Session, silence_s: float, remembered_s: float) -> Sequence[WorkerProcess]:
    """Workers that were heard of within `remembered_s`, but not within `silence_s`, and did not say that they left."""
    beat_at = WorkerProcess.heartbeat_at
    statement = (
        select(WorkerProcess)
        .where(WorkerProcess.stopped_at.is_(None), beat_at <= db_now(-silence_s), beat_at > db_now(-remembered_s))
        .order_by(WorkerProcess.name)
    )
    return session.scalars(statement).all()


@dataclass(frozen=True)
class InHand:
    """A shard that a worker holds, and since when."""

    shard_id: int
    job_id: UUID
    lane: Lane
    claimed_at: datetime | None


def in_hand(session: Session) -> dict[str, list[InHand]]:
    """The shards of each worker, also of one that is not heard of any more, those that it has longest first."""
    statement = (
        select(Shard.owner, Shard.id, Shard.job_id, Shard.lane, Shard.claimed_at)
        .where(Shard.state == ShardState.RUNNING)
        .order_by(Shard.claimed_at, Shard.id)
    )
    found: dict[str, list[InHand]] = defaultdict(list)
    for owner, shard_id, job_id, lane, claimed_at in session.execute(statement):
        found[owner or ""].append(InHand(shard_id, job_id, lane, claimed_at))
    return found
