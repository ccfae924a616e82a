"""A claimed shard -> decoded frames -> batches -> predictions and outcomes, committed under the fence."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from shared.db import reading
from shared.errors import DecodeError, OverreadError, PermanentError
from shared.models import Job
from shared.repositories.heat_maps import add_heat_maps
from shared.repositories.items import PendingItem, begin_items, pending_items, record_outcomes, settle_job
from shared.repositories.lanes import has_due
from shared.repositories.pace import add_pace
from shared.repositories.predictions import Provenance, add_predictions, predicted_frames
from shared.repositories.shards import finish, hold
from shared.repositories.tallies import count
from shared.states import Explain, Lane, Reason
from worker.inference.batch import FramePrediction, ServedModel
from worker.inference.explain import store_maps
from worker.inference.results import DecodedItem, ItemResult, outcome_of, predictions_by_engine, result_of, tallied
from worker.models import served_model
from worker.runtime import HeldShard, Runtime

NumberedFrame = tuple[int, NDArray[np.float32]]

# Frames of a more urgent lane go through the engine first.
RANKS = tuple(Lane)

# While a model loads, a shard that waits for it counts as moving: the load has a deadline of its own.
LOAD_LOOK_S = 1.0


class StoppingError(OverreadError):
    """The worker was asked to stop; the shard goes back to its queue."""


class YieldError(OverreadError):
    """A more urgent lane waits and no thread is free; the shard goes back to its queue."""


@dataclass(frozen=True)
class _Work:
    """What a shard's items have in common."""

    model: ServedModel
    generation: int
    explain: Explain
    items: list[PendingItem]


def run_shard(runtime: Runtime, held: HeldShard) -> None:
    """Predict on every pending item of the shard, then finish it (running -> done).

    Raises FencedOutError when the shard is no longer ours, StoppingError when the worker stops, YieldError when a more
    urgent lane waits, EngineLostError when loading the model ended the engine, TransientError when storage or database
    fail; what was committed before stays, and the next attempt goes on from there.
    """
    work = _read_work(runtime, held)
    try:
        _prepare(runtime, held, work.model)
    except PermanentError as error:
        failed = [ItemResult(item, reason=error.recorded_reason, detail=error.message) for item in work.items]
        _commit(runtime, held, work, failed, last=True)
        return
    groups = list(_groups(runtime, held, work.items))
    for number, (items, company) in enumerate(groups, start=1):
        with company:
            _run_items(runtime, held, work, items, last=number == len(groups))


def _groups(
    runtime: Runtime, held: HeldShard, items: Sequence[PendingItem]
) -> Iterator[tuple[Sequence[PendingItem], AbstractContextManager[None]]]:
    """Suspects, on which an attempt ended without a word, one by one and alone; then the others in company."""
    for item in items:
        if item.tries:
            yield [item], runtime.company.alone(held.moved)
    yield [item for item in items if not item.tries], runtime.company.shared(held.moved)


def _read_work(runtime: Runtime, held: HeldShard) -> _Work:
    with reading(runtime.engine) as session:
        job = session.get_one(Job, held.claim.job_id)
        version = job.model_version
        model = served_model(runtime, session, version)
        items = pending_items(session, held.claim.shard_id, model.contract.slices.select)
    return _Work(model, job.generation, job.explain, items)


def _prepare(runtime: Runtime, held: HeldShard, model: ServedModel) -> None:
    """Load the model before any item begins: what a load kills is no item's fault."""
    loaded = runtime.engines.prepare(model)
    while not wait([loaded], timeout=LOAD_LOOK_S).done:
        held.moved()
    loaded.result()


def _run_items(runtime: Runtime, held: HeldShard, work: _Work, items: Sequence[PendingItem], *, last: bool) -> None:
    """Decode ahead, predict, commit a window at a time; that an item begins is committed before it is decoded."""
    window = runtime.settings.commit_items
    with ThreadPoolExecutor(max_workers=runtime.settings.decode_processes) as pool:
        ahead: deque[Future[DecodedItem]] = deque()

        def commit_and_send(results: Sequence[ItemResult], following: Sequence[PendingItem]) -> None:
            ends = last and not ahead and not following
            reused = _commit(runtime, held, work, results, begin=following, last=ends)
            for item in following:
                ahead.append(pool.submit(_decode_item, runtime, held, work, item, reused))

        try:
            position = 2 * window
            commit_and_send((), items[:position])
            while ahead:
                results = [result_of(ahead.popleft().result()) for _ in range(min(window, len(ahead)))]
                commit_and_send(results, items[position : position + window])
                position += window
        finally:
            for future in ahead:
                future.cancel()


def _decode_item(
    runtime: Runtime,
    held: HeldShard,
    work: _Work,
    item: PendingItem,
    predicted: dict[str, int],
) -> DecodedItem:
    """Decode one instance and queue its frames for the engine; a bad instance costs only itself."""
    if predicted.get(item.blob_sha256, 0) >= item.number_of_frames:
        return DecodedItem(item, reused=predicted[item.blob_sha256])
    if not runtime.store.is_whole(item.blob_sha256):
        runtime.store.set_aside(item.blob_sha256)
        error = DecodeError("the stored bytes are gone or damaged; send the file again", reason=Reason.BLOB_MISSING)
        return DecodedItem(item, error=error)
    path = runtime.store.path(item.blob_sha256)
    pending: list[tuple[int, Future[FramePrediction]]] = []
    try:
        frames = runtime.decoder.frames(path, work.model.contract, item.frames)
        for number, array in _coming(runtime, frames):
            runtime.room.take(array.nbytes)
            held.moved()
            rank = RANKS.index(held.claim.lane)
            future = runtime.engines.predict(work.model, array, rank=rank, explain=work.explain)
            future.add_done_callback(partial(runtime.room.give_back, array.nbytes))
            pending.append((number, future))
    except PermanentError as error:
        return DecodedItem(item, pending, error)
    return DecodedItem(item, pending)


def _coming(runtime: Runtime, frames: Iterator[NumberedFrame]) -> Iterator[NumberedFrame]:
    """Frames as they are decoded; batches wait a little for one that is, not for one that waits for room."""
    while True:
        with runtime.engines.coming():
            found = next(frames, None)
        if found is None:
            return
        yield found


def _commit(
    runtime: Runtime,
    held: HeldShard,
    work: _Work,
    results: Sequence[ItemResult],
    *,
    begin: Sequence[PendingItem] = (),
    last: bool,
) -> dict[str, int]:
    """One transaction: the lease under the fence, predictions, outcomes, and the begin of the items that follow.

    With the last, the finishing moves. Gives the frames already predicted of each blob that follows.
    """
    claim, model = held.claim, work.model
    maps = store_maps(runtime.store, {result.item.blob_sha256: result.frames for result in results})
    with runtime.unit_of_work() as uow:
        session = uow.session
        hold(session, claim, runtime.settings.lease_s, progress=bool(results))
        for computed, predictions in predictions_by_engine(results).items():
            provenance = Provenance(model.digest, *computed, work.generation, work.explain)
            add_predictions(session, predictions, provenance)
        add_heat_maps(session, maps, model.digest, work.generation)
        count(session, tallied(results))
        record_outcomes(session, claim.job_id, [outcome_of(result) for result in results], fence=claim.fence)
        if results:
            add_pace(session, claim.lane, len(results))
        if last:
            finish(session, claim)
            settle_job(session, claim.job_id, actor=claim.owner)
        leave = None if last else _why_leave(runtime, session, held, progress=bool(results))
        following = begin if leave is None else ()
        blobs = [item.blob_sha256 for item in following]
        predicted = predicted_frames(session, model.digest, blobs, generation=work.generation, explain=work.explain)
        begin_items(session, [item.item_id for item in following])
        # Before the commit: it may go through and still be reported as failed.
        held.begun |= {item.item_id for item in following}
    held.moved()
    held.begun -= {result.item.item_id for result in results}
    if leave is not None:
        raise leave
    return predicted


def _why_leave(runtime: Runtime, session: Session, held: HeldShard, *, progress: bool) -> OverreadError | None:
    """Between two windows a worker gives its shard back when it stops, or when something more urgent waits for it.

    A shard whose lane had its turn gets a window done before it yields: else a constant urgent load would hold it up.
    """
    if runtime.stopping.is_set():
        return StoppingError("the worker is stopping; the rest of the shard goes back to its queue")
    if progress and runtime.is_full() and has_due(session, runtime.turns.more_urgent_than(held.claim.lane)):
        return YieldError("a more urgent lane waits; the rest of the shard goes back to its queue")
    return None
