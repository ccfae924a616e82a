"""Celery tasks: claim, one call, one move."""

from collections.abc import Callable, Sequence
from threading import BoundedSemaphore

from sqlalchemy.exc import SQLAlchemyError
from structlog import get_logger

from shared.backoff import backoff_s
from shared.errors import EngineLostError, FencedOutError, TransientError
from shared.outage import is_outage
from shared.reasons import Failure
from shared.repositories.claims import NOTHING_BEGUN, Begun, begun_in, claim_next, put_off, release
from shared.repositories.crashes import Loss, take_back_lost
from shared.repositories.job_moves import start_jobs
from shared.repositories.shards import Claim
from shared.states import JobKind, Lane
from worker.inference.commit import end_cancelled
from worker.inference.run import run_shards
from worker.runtime import HeldShards, Runtime, StoppingError, YieldError
from worker.training.run import run_training
from worker.verification.run import run_verification

log = get_logger()


def infer_next(runtime: Runtime) -> None:
    """Take shards, one after the other, until none is due (queued -> running), and predict, or verify."""

    def claim() -> list[Claim]:
        return _claim(runtime, runtime.turns.next_order(), runtime.settings.shard_items)

    _take_all(runtime, runtime.room_to_infer, claim, _infer)


def _infer(runtime: Runtime, held: HeldShards) -> None:
    """Shards that are claimed together are of one kind of job."""
    run = run_verification if held.claims[0].kind is JobKind.VERIFICATION else run_shards
    run(runtime, held)


def train_next(runtime: Runtime) -> None:
    """Take training runs, one after the other, until none is due (queued -> running), and train."""
    _take_all(runtime, runtime.room_to_train, lambda: _claim(runtime, [Lane.TRAINING], 1), run_training)


def _take_all(
    runtime: Runtime,
    room: BoundedSemaphore,
    claim: Callable[[], list[Claim]],
    work: Callable[[Runtime, HeldShards], None],
) -> None:
    """A hint that finds nothing to claim, or every thread of its kind at work, is dropped.

    A shard that is not finished here goes back to its queue, at once where this worker can still say so, else when its
    lease runs out.
    """
    if not room.acquire(blocking=False):
        return
    try:
        while not runtime.stopping.is_set() and (claims := claim()):
            held = runtime.hold(claims)
            try:
                _work_on(runtime, held, work)
            finally:
                runtime.let_go(held)
    except Exception as error:  # noqa: BLE001 - the task boundary: its text and trace could hold patient data
        # The scheduler hints again what waits, and takes back what this worker could not give back.
        level = log.warning if _is_transient(error) else log.error
        level("worker_put_off", error=type(error).__name__)
    finally:
        room.release()


def _is_transient(error: Exception) -> bool:
    """Storage, database or broker trouble: it may work when it is tried again."""
    return isinstance(error, TransientError) or (isinstance(error, SQLAlchemyError) and is_outage(error))


def _claim(runtime: Runtime, lanes: Sequence[Lane], most_items: int) -> list[Claim]:
    """The next shard, or small ones that together have no more than so many items."""
    with runtime.unit_of_work() as uow:
        claims = claim_next(uow.session, lanes, runtime.name, runtime.settings.lease_s, most_items=most_items)
        if claims:
            start_jobs(uow.session, {claim.job_id for claim in claims}, actor=runtime.name)
    return claims


def _work_on(runtime: Runtime, held: HeldShards, work: Callable[[Runtime, HeldShards], None]) -> None:
    """Run the shards (running -> done), or move them as what went wrong asks for."""
    try:
        work(runtime, held)
    except FencedOutError:
        end_cancelled(runtime, held.claims)
    except StoppingError:
        _give_back(runtime, held, "worker is stopping")
    except YieldError:
        _give_back(runtime, held, "yields to a more urgent lane")
    except EngineLostError as error:
        # While it loaded the model, or trained: no item is at fault.
        _lose(runtime, held, error.message, error.context.get("evidence") or {}, begun=held.begun)
    except Exception as error:  # noqa: BLE001 - the task boundary: its text and trace could hold patient data
        if _is_transient(error):
            _put_off(runtime, held, error)
        else:
            _lose(runtime, held, f"unforeseen: {type(error).__name__}", {})


def _give_back(runtime: Runtime, held: HeldShards, reason: str) -> None:
    with runtime.unit_of_work() as uow:
        release(uow.session, held.claims, reason=reason, begun=held.begun)


def _put_off(runtime: Runtime, held: HeldShards, error: Exception) -> None:
    settings = runtime.settings
    failures = max((claim.failure_count for claim in held.claims), default=0) + 1
    delay_s = backoff_s(settings.retry_backoff_s, failures, settings.max_backoff_s)
    shards, reason = [claim.shard_id for claim in held.claims], f"transient: {type(error).__name__}"
    log.warning("shards_put_off", shards=shards, error=type(error).__name__, delay_s=round(delay_s, 1))
    with runtime.unit_of_work() as uow:
        put_off(uow.session, held.claims, Failure.TRANSIENT, reason=reason, delay_s=delay_s, begun=held.begun)


def _lose(
    runtime: Runtime, held: HeldShards, reason: str, evidence: dict[str, object], begun: Begun = NOTHING_BEGUN
) -> None:
    """What fails each time is set aside in the end: it counts as a lost worker does."""
    most, delay_s = runtime.settings.max_crashes, runtime.settings.retry_backoff_s
    failure = Failure.TIMEOUT if evidence.get("signal") == "timeout" else Failure.CRASH
    loss = Loss(failure, reason, runtime.name, evidence, from_outside=evidence.get("signal") == "SIGKILL")
    for claim in held.claims:
        log.error("shard_lost", shard=claim.shard_id, reason=reason)
        ours = begun_in([claim], begun)
        # One by one: who holds a job of them must not wait for somebody who waits for it.
        with runtime.unit_of_work() as uow:
            take_back_lost(uow.session, claim, loss, max_crashes=most, delay_s=delay_s, begun=ours)
