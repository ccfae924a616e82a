"""Celery tasks: claim, one call, one move."""

import structlog
from sqlalchemy.exc import OperationalError

from shared.errors import FencedOutError, TransientError
from shared.repositories.items import end_open_items, settle_job, start_job
from shared.repositories.shards import Claim, cancel_running, claim_next, release
from shared.states import ItemState, Lane, Reason
from worker.inference.run import StoppingError, run_shard
from worker.runtime import Runtime

log = structlog.get_logger()

TRANSIENT_DELAY_S = 5.0


def infer_next(runtime: Runtime, lane: str) -> None:
    """Take the lane's next shard (queued -> running) and predict on its items (running -> done).

    A hint that finds nothing to claim is dropped. A shard that is not finished here goes back to its queue, at once
    where this worker can still say so, else when its lease runs out.
    """
    if runtime.stopping.is_set():
        return
    claim = _claim(runtime, Lane(lane))
    if claim is None:
        return
    held = runtime.hold(claim)
    try:
        run_shard(runtime, held)
    except FencedOutError:
        _end_if_cancelled(runtime, claim)
    except StoppingError:
        _give_back(runtime, claim, "worker is stopping", 0.0)
    except (TransientError, OperationalError) as error:
        log.warning("shard_given_back", shard=claim.shard_id, error=type(error).__name__)
        _give_back(runtime, claim, f"transient: {type(error).__name__}", TRANSIENT_DELAY_S)
    except Exception as error:  # noqa: BLE001 - the task boundary: its text and trace could hold patient data
        # The lease runs out and counts as a crash, so that what fails each time is set aside in the end.
        log.error("shard_failed", shard=claim.shard_id, error=type(error).__name__)  # noqa: TRY400 - the same
    finally:
        runtime.let_go(claim)


def _claim(runtime: Runtime, lane: Lane) -> Claim | None:
    with runtime.unit_of_work() as uow:
        claim = claim_next(uow.session, lane, runtime.name, runtime.settings.lease_s)
        if claim is not None:
            start_job(uow.session, claim.job_id, actor=runtime.name)
    return claim


def _give_back(runtime: Runtime, claim: Claim, reason: str, delay_s: float) -> None:
    with runtime.unit_of_work() as uow:
        release(uow.session, claim, reason=reason, delay_s=delay_s)


def _end_if_cancelled(runtime: Runtime, claim: Claim) -> None:
    """Fenced out by a cancel: the shard is still ours to end. Fenced out by recovery: it is not, and nothing moves."""
    with runtime.unit_of_work() as uow:
        if cancel_running(uow.session, claim):
            end_open_items(uow.session, claim.job_id, [claim.shard_id], ItemState.CANCELLED, Reason.CANCELLED)
            settle_job(uow.session, claim.job_id, actor=runtime.name)
        else:
            log.info("fenced_out", shard=claim.shard_id, fence=claim.fence)
