"""What a worker does with a shard, without pixels: run by many threads and processes against one database."""

import json
import os
import sys

from sqlalchemy import Engine

from shared.config import load_settings
from shared.db import make_engine
from shared.errors import FencedOutError
from shared.reasons import Reason
from shared.repositories.claims import cancel_running, claim_next, finish, hold
from shared.repositories.items import pending_items
from shared.repositories.job_moves import settle_jobs, start_jobs
from shared.repositories.outcomes import Outcome, end_open_items, record_outcomes
from shared.repositories.shards import Claim
from shared.states import ItemState, Lane
from shared.unit_of_work import UnitOfWork

LEASE_S = 60.0


def take(engine: Engine, owner: str, lane: Lane = Lane.ROUTINE) -> Claim | None:
    """Claim as a worker's task does: the shard and the start of its job in one transaction."""
    with UnitOfWork(engine) as uow:
        claims = claim_next(uow.session, [lane], owner, LEASE_S, most_items=1)
        start_jobs(uow.session, [claim.job_id for claim in claims], actor=owner)
    return claims[0] if claims else None


def commit(engine: Engine, claim: Claim, most: int | None = None, num_failed: int = 0) -> None:
    """Give pending items of the shard (at most so many, the first ones failed) an outcome under the fence.

    Raises FencedOutError when the shard is no longer the owner's.
    """
    with UnitOfWork(engine) as uow:
        hold(uow.session, [claim], LEASE_S)
        items = pending_items(uow.session, [claim.shard_id])[:most]
        failed = [Outcome(item.item_id, ItemState.FAILED, Reason.DECODE_FAILED) for item in items[:num_failed]]
        done = [Outcome(item.item_id, ItemState.DONE, frames=1) for item in items[num_failed:]]
        record_outcomes(uow.session, {claim.fence: failed + done})
        finish(uow.session, [claim])
        settle_jobs(uow.session, [claim.job_id], actor=claim.owner)


def end_cancelled(engine: Engine, claim: Claim) -> bool:
    """What an owner does when it is fenced out: end the shard if its job was cancelled, else leave it alone."""
    with UnitOfWork(engine) as uow:
        if not cancel_running(uow.session, [claim]):
            return False
        end_open_items(uow.session, [claim.shard_id], ItemState.CANCELLED, Reason.CANCELLED)
        settle_jobs(uow.session, [claim.job_id], actor=claim.owner)
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
