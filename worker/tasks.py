"""Celery tasks: claim, one call, one move."""

from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError
from structlog import get_logger

from shared.backoff import backoff_s
from shared.errors import EngineLostError, FencedOutError, TransientError
from shared.outage import is_outage
from shared.repositories.crashes import Loss, take_back_lost
from shared.repositories.items import end_open_items, settle_job, start_job
from shared.repositories.shards import Claim, cancel_running, claim_next, put_off, release
from shared.states import Failure, ItemState, Reason
from worker.inference.run import StoppingError, YieldError, run_shard
from worker.runtime import HeldShard, Runtime

log = get_logger()


def infer_next(runtime: Runtime) -> None:
    """Take shards, one after the other, until none is due (queued -> running), and predict on their items.

    A hint that finds nothing to claim is dropped. A shard that is not finished here goes back to its queue, at once
    where this worker can still say so, else when its lease runs out.
    """
    try:
        while not runtime.stopping.is_set() and (claim := _claim(runtime)) is not None:
            held = runtime.hold(claim)
            try:
                _work_on(runtime, held)
            finally:
                runtime.let_go(claim)
    except Exception as error:  # noqa: BLE001 - the task boundary: its text and trace could hold patient data
        # The scheduler hints again what waits, and takes back what this worker could not give back.
        level = log.warning if _is_transient(error) else log.error
        level("worker_put_off", error=type(error).__name__)


def _is_transient(error: Exception) -> bool:
    """Storage, database or broker trouble: it may work when it is tried again."""
    return isinstance(error, TransientError) or (isinstance(error, SQLAlchemyError) and is_outage(error))


def _claim(runtime: Runtime) -> Claim | None:
    with runtime.unit_of_work() as uow:
        claim = claim_next(uow.session, runtime.turns.next_order(), runtime.name, runtime.settings.lease_s)
        if claim is not None:
            start_job(uow.session, claim.job_id, actor=runtime.name)
    return claim


def _work_on(runtime: Runtime, held: HeldShard) -> None:
    """Run the shard (running -> done), or move it as what went wrong asks for."""
    try:
        run_shard(runtime, held)
    except FencedOutError:
        _end_if_cancelled(runtime, held.claim)
    except StoppingError:
        _give_back(runtime, held, "worker is stopping")
    except YieldError:
        _give_back(runtime, held, "yields to a more urgent lane")
    except EngineLostError as error:
        # While it loaded the model: no item is at fault.
        _lose(runtime, held, error.message, error.context.get("evidence") or {}, begun=sorted(held.begun))
    except Exception as error:  # noqa: BLE001 - the task boundary: its text and trace could hold patient data
        if _is_transient(error):
            _put_off(runtime, held, error)
        else:
            _lose(runtime, held, f"unforeseen: {type(error).__name__}", {})


def _give_back(runtime: Runtime, held: HeldShard, reason: str) -> None:
    with runtime.unit_of_work() as uow:
        release(uow.session, held.claim, reason=reason, begun=sorted(held.begun))


def _put_off(runtime: Runtime, held: HeldShard, error: Exception) -> None:
    claim, settings = held.claim, runtime.settings
    delay_s = backoff_s(settings.retry_backoff_s, claim.failure_count + 1, settings.max_backoff_s)
    log.warning("shard_put_off", shard=claim.shard_id, error=type(error).__name__, delay_s=round(delay_s, 1))
    reason = f"transient: {type(error).__name__}"
    with runtime.unit_of_work() as uow:
        put_off(uow.session, claim, Failure.TRANSIENT, reason=reason, delay_s=delay_s, begun=sorted(held.begun))


def _lose(
    runtime: Runtime, held: HeldShard, reason: str, evidence: dict[str, object], begun: Sequence[int] = ()
) -> None:
    """What fails each time is set aside in the end: it counts as a lost worker does."""
    claim, most, delay_s = held.claim, runtime.settings.max_crashes, runtime.settings.retry_backoff_s
    log.error("shard_lost", shard=claim.shard_id, reason=reason)
    failure = Failure.TIMEOUT if evidence.get("signal") == "timeout" else Failure.CRASH
    loss = Loss(failure, reason, runtime.name, evidence, from_outside=evidence.get("signal") == "SIGKILL")
    with runtime.unit_of_work() as uow:
        take_back_lost(uow.session, claim, loss, max_crashes=most, delay_s=delay_s, begun=begun)


def _end_if_cancelled(runtime: Runtime, claim: Claim) -> None:
    """Fenced out by a cancel: the shard is still ours to end. Fenced out by recovery: it is not, and nothing moves."""
    with runtime.unit_of_work() as uow:
        if cancel_running(uow.session, claim):
            end_open_items(uow.session, claim.job_id, [claim.shard_id], ItemState.CANCELLED, Reason.CANCELLED)
            settle_job(uow.session, claim.job_id, actor=runtime.name)
        else:
            log.info("fenced_out", shard=claim.shard_id, fence=claim.fence)
