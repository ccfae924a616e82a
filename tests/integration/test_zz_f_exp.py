import threading, time, random
from concurrent.futures import ThreadPoolExecutor
from tests.factories import *
from tests.invariants import check_invariants
from shared.repositories.items import *
from shared.repositories.shards import *
from shared.repositories.jobs import request_cancel
from scheduler.recovery import recover_shards
from shared.unit_of_work import UnitOfWork

def test_cancel_vs_claim(any_prepared):
    e = any_prepared.engine
    jobs = [submit_job(e, 2, shard_items=1) for _ in range(60)]
    errors = []
    stop = threading.Event()
    def work(n):
        while not stop.is_set():
            try:
                with UnitOfWork(e) as uow:
                    c = claim_next(uow.session, Lane.ROUTINE, f"w{n}", 60)
                    if c: start_job(uow.session, c.job_id, actor="w")
                if c is None: return
                with UnitOfWork(e) as uow:
                    hold(uow.session, c, 60)
                    items = pending_items(uow.session, c.shard_id)
                    record_outcomes(uow.session, c.job_id, done([i.item_id for i in items]))
                    finish(uow.session, c)
                    settle_job(uow.session, c.job_id, actor="w")
            except FencedOutError:
                with UnitOfWork(e) as uow:
                    if cancel_running(uow.session, c):
                        end_open_items(uow.session, c.job_id, [c.shard_id], ItemState.CANCELLED, Reason.CANCELLED)
                        settle_job(uow.session, c.job_id, actor="w")
            except Exception as x:
                errors.append(repr(x)[:300])
    def cancel():
        for j in jobs:
            try:
                with UnitOfWork(e) as uow: request_cancel(uow.session, j, actor="x")
            except Exception as x:
                errors.append("cancel "+repr(x)[:300])
    from shared.errors import FencedOutError
    t0=time.time()
    ts = [threading.Thread(target=work, args=(n,)) for n in range(6)] + [threading.Thread(target=cancel)]
    [t.start() for t in ts]; [t.join() for t in ts]
    print("took", time.time()-t0, "errors", len(errors), errors[:4])
    check_invariants(e)
    assert not errors
