"""The duty: shards whose worker went silent go back to their queue, or are quarantined after too many crashes."""

from uuid import UUID

import structlog
from sqlalchemy import Engine

from shared.config import Settings
from shared.db import reading
from shared.models import Job, Shard
from shared.repositories.items import end_open_items, settle_job
from shared.repositories.jobs import cancelled_with_queued_shards, end_queued
from shared.repositories.shards import expired, take_back
from shared.states import ItemState, Reason, ShardState
from shared.unit_of_work import UnitOfWork

log = structlog.get_logger()

SHARDS_AT_ONCE = 100
JOBS_AT_ONCE = 20
ACTOR = "scheduler"


def recover_shards(engine: Engine, settings: Settings) -> int:
    """Take back what is lost; returns how many shards moved."""
    with reading(engine) as session:
        lost = expired(session, SHARDS_AT_ONCE)
        left_over = cancelled_with_queued_shards(session, JOBS_AT_ONCE)
    return sum(_recover(engine, settings, shard) for shard in lost) + sum(_end(engine, job_id) for job_id in left_over)


def _recover(engine: Engine, settings: Settings, shard: Shard) -> bool:
    with UnitOfWork(engine) as uow:
        session = uow.session
        cancelled = session.get_one(Job, shard.job_id).cancel_requested_at is not None
        crashes = shard.crash_count + 1
        if cancelled:
            moved = take_back(session, shard, ShardState.CANCELLED, reason="cancelled by request")
        elif crashes >= settings.max_crashes:
            moved = take_back(session, shard, ShardState.QUARANTINED, reason=f"lost {crashes} workers")
        else:
            delay_s = settings.retry_backoff_s * 2 ** (crashes - 1)
            moved = take_back(session, shard, ShardState.QUEUED, reason="lease ran out", delay_s=delay_s)
        if moved and cancelled:
            end_open_items(session, shard.job_id, [shard.id], ItemState.CANCELLED, Reason.CANCELLED)
        elif moved and crashes >= settings.max_crashes:
            end_open_items(session, shard.job_id, [shard.id], ItemState.FAILED, Reason.WORKER_CRASHED)
        settle_job(session, shard.job_id, actor=ACTOR)
    if moved:
        log.warning("shard_recovered", job_id=str(shard.job_id), shard=shard.id, crashes=crashes)
    return moved


def _end(engine: Engine, job_id: UUID) -> int:
    """A shard that went back to its queue while its job was being cancelled was missed by the cancel: end it now."""
    with UnitOfWork(engine) as uow:
        ended = end_queued(uow.session, job_id, actor=ACTOR)
        settle_job(uow.session, job_id, actor=ACTOR)
    return ended
