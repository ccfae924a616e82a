"""A claimed shard -> decoded frames -> batches -> predictions and outcomes, committed under the fence."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from shared.db import reading
from shared.errors import DecodeError, OverreadError, PermanentError
from shared.model_contract import ModelContract
from shared.models import Job
from shared.repositories.items import Outcome, PendingItem, pending_items, record_outcomes, settle_job
from shared.repositories.predictions import NewPrediction, Provenance, add_predictions, predicted_frames
from shared.repositories.shards import finish, hold
from shared.states import ItemState, Reason
from worker.inference.batch import FramePrediction, ServedModel
from worker.runtime import HeldShard, Runtime

# Frames of one shard between decoding and prediction: bounds memory whatever the job's size.
FRAMES_IN_FLIGHT = 64

# What float32 carries reliably: the last bit depends on a frame's place in its batch, and an answer must not.
PROBABILITY_DECIMALS = 6


class StoppingError(OverreadError):
    """The worker was asked to stop; the shard goes back to its queue."""


@dataclass(frozen=True)
class _Work:
    """What a shard's items have in common."""

    model: ServedModel
    generation: int
    items: list[PendingItem]
    predicted: dict[str, int]


@dataclass(frozen=True)
class _Decoded:
    """One item whose frames are on their way through the engine, or that ended before."""

    item: PendingItem
    pending: Sequence[tuple[int, Future[FramePrediction]]] = ()
    error: PermanentError | None = None
    reused: int = 0


@dataclass(frozen=True)
class _Result:
    """One item's predictions, or why there are none."""

    item: PendingItem
    frames: Sequence[tuple[int, FramePrediction]] = ()
    reason: Reason | None = None
    detail: str = ""
    reused: int = 0


def run_shard(runtime: Runtime, held: HeldShard) -> None:
    """Predict on every pending item of the shard, then finish it (running -> done).

    Raises FencedOutError when the shard is no longer ours, StoppingError when the worker stops, TransientError when
    storage or database fail; what was committed before stays, and the next attempt goes on from there.
    """
    work = _read_work(runtime, held)
    slots = threading.BoundedSemaphore(FRAMES_IN_FLIGHT)
    batch: list[_Result] = []
    with ThreadPoolExecutor(max_workers=runtime.settings.decode_processes) as pool:
        ahead: deque[Future[_Decoded]] = deque()
        waiting = iter(work.items)
        try:
            while True:
                while len(ahead) < runtime.settings.commit_items * 2 and (item := next(waiting, None)) is not None:
                    ahead.append(pool.submit(_decode_item, runtime, held, work, item, slots))
                if not ahead:
                    break
                batch.append(_result(ahead.popleft().result()))
                if len(batch) >= runtime.settings.commit_items:
                    _commit(runtime, held, work, batch, last=False)
                    batch = []
        finally:
            for future in ahead:
                future.cancel()
    _commit(runtime, held, work, batch, last=True)


def _read_work(runtime: Runtime, held: HeldShard) -> _Work:
    with reading(runtime.engine) as session:
        job = session.get_one(Job, held.claim.job_id)
        version = job.model_version
        items = pending_items(session, held.claim.shard_id)
        blobs = [item.blob_sha256 for item in items]
        predicted = predicted_frames(session, version.digest, blobs, generation=job.generation)
    contract = ModelContract.model_validate(version.contract)
    model = ServedModel(version.digest, contract, runtime.store.path(version.weights_sha256))
    return _Work(model, job.generation, items, predicted)


def _decode_item(
    runtime: Runtime, held: HeldShard, work: _Work, item: PendingItem, slots: threading.BoundedSemaphore
) -> _Decoded:
    """Decode one instance and queue its frames for the engine; a bad instance costs only itself."""
    if work.predicted.get(item.blob_sha256, 0) >= item.number_of_frames:
        return _Decoded(item, reused=work.predicted[item.blob_sha256])
    if not runtime.store.is_whole(item.blob_sha256):
        runtime.store.set_aside(item.blob_sha256)
        error = DecodeError("the stored bytes are gone or damaged; send the file again", reason=Reason.BLOB_MISSING)
        return _Decoded(item, error=error)
    path = runtime.store.path(item.blob_sha256)
    pending: list[tuple[int, Future[FramePrediction]]] = []
    try:
        for number, array in runtime.decoder.frames(path, work.model.contract):
            slots.acquire()
            held.progress_at = time.monotonic()
            future = runtime.engines.predict(work.model, array)
            future.add_done_callback(lambda _: slots.release())
            pending.append((number, future))
    except PermanentError as error:
        return _Decoded(item, pending, error)
    return _Decoded(item, pending)


def _result(decoded: _Decoded) -> _Result:
    """Wait for an item's predictions. An item that failed at a later frame has none: no half answers."""
    item, error = decoded.item, decoded.error
    if decoded.reused:
        return _Result(item, reused=decoded.reused)
    try:
        frames = [(number, future.result()) for number, future in decoded.pending]
    except PermanentError as engine_error:
        error = error or engine_error
    if error is not None:
        return _Result(item, reason=error.recorded_reason, detail=error.message)
    if not frames:
        return _Result(item, reason=Reason.NO_PIXEL_DATA)
    if not all(np.isfinite(prediction.probabilities).all() for _, prediction in frames):
        return _Result(item, reason=Reason.NON_FINITE_PROBABILITY)
    return _Result(item, frames=frames)


def _commit(runtime: Runtime, held: HeldShard, work: _Work, results: Sequence[_Result], *, last: bool) -> None:
    """One transaction: lease extended under the fence, predictions, outcomes; with the last, the finishing moves."""
    claim = held.claim
    with runtime.unit_of_work() as uow:
        session = uow.session
        hold(session, claim, runtime.settings.lease_s, progress=bool(results))
        for (engine, precision), predictions in _by_engine(results).items():
            provenance = Provenance(work.model.digest, engine, precision, work.generation)
            add_predictions(session, predictions, provenance)
        record_outcomes(session, claim.job_id, [_outcome(result) for result in results])
        if last:
            finish(session, claim)
            settle_job(session, claim.job_id, actor=claim.owner)
    held.progress_at = time.monotonic()
    if not last and runtime.stopping.is_set():
        raise StoppingError("the worker is stopping; the rest of the shard goes back to its queue")


def _by_engine(results: Sequence[_Result]) -> dict[tuple[str, str], list[NewPrediction]]:
    found: dict[tuple[str, str], list[NewPrediction]] = {}
    for result in results:
        for number, frame in result.frames:
            probabilities = [round(float(value), PROBABILITY_DECIMALS) for value in frame.probabilities]
            prediction = NewPrediction(result.item.blob_sha256, number, probabilities)
            found.setdefault((frame.engine, frame.precision), []).append(prediction)
    return found


def _outcome(result: _Result) -> Outcome:
    if result.reason is not None:
        return Outcome(result.item.item_id, ItemState.FAILED, result.reason, result.detail)
    frames = len(result.frames) or result.reused
    return Outcome(result.item.item_id, ItemState.DONE, frames=frames, reused=bool(result.reused))
