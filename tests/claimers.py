"""What a worker does with a shard, without pixels: run by many threads and processes against one database."""

import json
import os
import sys

from sqlalchemy import Engine

from shared.config import load_settings
from shared.db import make_engine
from shared.errors import FencedOutError
from shared.repositories.items import Outcome, end_open_items, pending_items, record_outcomes, settle_job, start_job
from shared.repositories.shards import Claim, cancel_running, claim_next, finish, hold
from shared.states import ItemState, Lane, Reason
from shared.unit_of_work import UnitOfWork

LEASE_S = 60.0


def take(engine: Engine, owner: str, lane: Lane = Lane.ROUTINE) -> Claim | None:
    """Claim as a worker's task does: the shard and the start of its job in one transaction."""
    with UnitOfWork(engine) as uow:
        claim = claim_next(uow.session, [lane], owner, LEASE_S)
        if claim is not None:
            start_job(uow.session, claim.job_id, actor=owner)
    return claim


def commit(engine: Engine, claim: Claim, most: int | None = None, num_failed: int = 0) -> None:
    """Give pending items of the shard (at most so many, the first ones failed) an outcome under the fence.

    Raises FencedOutError when the shard is no longer the owner's.
    """
    with UnitOfWork(engine) as uow:
        hold(uow.session, claim, LEASE_S)
        items = pending_items(uow.session, claim.shard_id)[:most]
        failed = [Outcome(item.item_id, ItemState.FAILED, Reason.DECODE_FAILED) for item in items[:num_failed]]
        done = [Outcome(item.item_id, ItemState.DONE, frames=1) for item in items[num_failed:]]
        record_outcomes(uow.session, claim.job_id, failed + done, fence=claim.fence)
        finish(uow.session, claim)
        settle_job(uow.session, claim.job_id, actor=claim.owner)


def end_cancelled(engine: Engine, claim: Claim) -> bool:
    """What an owner does when it is fenced out: end the shard if its job was cancelled, else leave it alone."""
    with UnitOfWork(engine) as uow:
        if not cancel_running(uow.session, claim):
            return False
        end_open_items(uow.session, claim.job_id, [claim.shard_id], ItemState.CANCELLED, Reason.CANCELLED)
        settle_job(uow.session, claim.job_id, actor=claim.owner)
    return True


def work_until_empty(engine: Engine, owner: str) -> list[int]:
    """Claim and finish until nothing is left; the shards that were claimed."""
    shards = []
    while (claim := take(engine, owner)) is not None:
        shards.append(claim.shard_id)
        try:
            commit(engine, claim)
        except FencedOutError:
            end_cancelled(engine, claim)
    return shards


if __name__ == "__main__":
    # The settings come in the environment; what was claimed goes out as JSON.
    json.dump(work_until_empty(make_engine(load_settings()), f"process-{os.getpid()}"), sys.stdout)
