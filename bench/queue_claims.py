"""Claims and finishes per second: the worker's own statements on one-item shards, without pixels."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine

from shared.config import Settings
from shared.db import make_engine
from shared.migrate import prepare_database
from shared.repositories.claims import claim_next, finish, hold
from shared.repositories.items import begin_items, pending_items
from shared.repositories.job_moves import settle_jobs, start_jobs
from shared.repositories.outcomes import Outcome, record_outcomes
from shared.states import ItemState, Lane
from shared.unit_of_work import UnitOfWork
from tests.factories import submit_job

THREADS = 4
RUNS = 3
LEASE_S = 60.0


def claims_per_second(settings: Settings, shards: int) -> float:
    """Median of three runs, each of so many shards, claimed, begun and finished by four threads."""
    engine = make_engine(settings)
    prepare_database(engine, "bench")
    rates = []
    for _ in range(RUNS):
        submit_job(engine, shards, shard_items=1)
        began = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            done = sum(pool.map(lambda number: _work(engine, f"worker-{number}"), range(THREADS)))
        rates.append(done / (time.perf_counter() - began))
    engine.dispose()
    return statistics.median(rates)


def _work(engine: Engine, owner: str) -> int:
    done = 0
    while _claim_and_finish(engine, owner):
        done += 1
    return done


def _claim_and_finish(engine: Engine, owner: str) -> bool:
    """Three transactions, as a worker makes for a shard of one window: claim, begin, outcomes and finish."""
    with UnitOfWork(engine) as uow:
        claims = claim_next(uow.session, list(Lane), owner, LEASE_S, most_items=1)
        if not claims:
            return False
        (claim,) = claims
        start_jobs(uow.session, [claim.job_id], actor=owner)
    with UnitOfWork(engine) as uow:
        hold(uow.session, [claim], LEASE_S)
        items = [item.item_id for item in pending_items(uow.session, [claim.shard_id])]
        begin_items(uow.session, items)
    with UnitOfWork(engine) as uow:
        hold(uow.session, [claim], LEASE_S, progressed=[claim.shard_id])
        outcomes = [Outcome(item, ItemState.DONE, frames=1) for item in items]
        record_outcomes(uow.session, {claim.fence: outcomes})
        finish(uow.session, [claim])
        settle_jobs(uow.session, [claim.job_id], actor=owner)
    return True
