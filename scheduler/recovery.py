"""The duty: shards whose worker went silent go back to their queue; what kills workers is quarantined."""

import time
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.backoff import backoff_s
from shared.config import Settings
from shared.db import reading
from shared.models import Shard
from shared.outage import is_outage
from shared.reasons import Failure
from shared.repositories.crashes import Loss, expired, take_back_expired
from shared.repositories.job_moves import settle_jobs
from shared.repositories.jobs import cancelled_with_queued_shards, end_queued
from shared.unit_of_work import UnitOfWork

log = structlog.get_logger()

SHARDS_AT_ONCE = 100
JOBS_AT_ONCE = 20
ACTOR = "scheduler"


class Recovery:
    """Looks again and again; after an outage of the database it first lets living workers extend their leases."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._patient_until = 0.0

    def run(self) -> int:
        """Take back what is lost; returns how many shards moved."""
        if time.monotonic() < self._patient_until:
            return 0
        try:
            return recover_shards(self._engine, self._settings)
        except SQLAlchemyError as error:
            if is_outage(error):
                self._patient_until = time.monotonic() + self._settings.lease_s
            raise


def recover_shards(engine: Engine, settings: Settings) -> int:
    """Take back what is lost now; returns how many shards moved."""
    with reading(engine) as session:
        lost = expired(session, SHARDS_AT_ONCE)
        left_over = cancelled_with_queued_shards(session, JOBS_AT_ONCE)
    return sum(_recover(engine, settings, shard) for shard in lost) + sum(_end(engine, job_id) for job_id in left_over)


def _recover(engine: Engine, settings: Settings, shard: Shard) -> bool:
    crashes = shard.crash_count + 1
    known = {"owner": shard.owner, "signal": "unknown: its lease ran out"}
    loss = Loss(Failure.CRASH, "lease ran out", ACTOR, known, from_outside=True)
    delay_s = backoff_s(settings.retry_backoff_s, crashes, settings.max_backoff_s)
    with UnitOfWork(engine) as uow:
        moved = take_back_expired(uow.session, shard, loss, max_crashes=settings.max_crashes, delay_s=delay_s)
    if moved:
        log.warning("shard_recovered", job_id=str(shard.job_id), shard=shard.id, crashes=crashes)
    return moved


def _end(engine: Engine, job_id: UUID) -> int:
    """A shard that went back to its queue while its job was being cancelled was missed by the cancel: end it now."""
    with UnitOfWork(engine) as uow:
        ended = end_queued(uow.session, job_id, actor=ACTOR)
        settle_jobs(uow.session, [job_id], actor=ACTOR)
    return ended
