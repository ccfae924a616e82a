"""Claimed shards -> decoded frames -> batches -> predictions and outcomes, committed under their fences."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shared.db import reading
from shared.errors import PermanentError
from shared.models import Job
from shared.repositories.items import PendingItem, pending_items
from shared.states import Lane
from worker.inference.batch import FramePrediction, ServedModel
from worker.inference.commit import commit
from worker.inference.results import DecodedItem, ItemResult
from worker.inference.work import Work
from worker.models import served_model
from worker.runtime import HeldShards, Runtime

NumberedFrame = tuple[int, NDArray[np.float32]]

# Frames of a more urgent lane go through the engine first.
RANKS = tuple(Lane)

# While a model loads, shards that wait for it count as moving: the load has a deadline of its own.
LOAD_LOOK_S = 1.0


def run_shards(runtime: Runtime, held: HeldShards) -> None:
    """Predict on every pending item of the shards, and finish each with its last item (running -> done).

    Raises FencedOutError when none of the shards is ours any more, StoppingError when the worker stops, YieldError when
    a more urgent lane waits, EngineLostError when loading the model ended the engine, TransientError when storage or
    database fail; what was committed before stays, and the next attempt goes on from there.
    """
    work_through(runtime, held, _read_work(runtime, held))


def work_through(runtime: Runtime, held: HeldShards, work: Work) -> None:
    """The same of work that was read, whatever is done with its results."""
    try:
        for model in work.models():
            _prepare(runtime, held, model)
    except PermanentError as error:
        failed = [ItemResult(item, reason=error.recorded_reason, detail=error.message) for item in work.items]
        commit(runtime, held, work, failed)
        return
    for items, company in _groups(runtime, held, work.items):
        with company:
            _run_items(runtime, held, work, items)


def _groups(
    runtime: Runtime, held: HeldShards, items: Sequence[PendingItem]
) -> Iterator[tuple[Sequence[PendingItem], AbstractContextManager[None]]]:
    """Suspects, on which an attempt ended without a word, one by one and alone; then the others in company."""
    for item in items:
        if item.tries:
            yield [item], runtime.company.alone(held.moved)
    if held.claims:
        yield [item for item in items if not item.tries], runtime.company.shared(held.moved)


def _read_work(runtime: Runtime, held: HeldShards) -> Work:
    with reading(runtime.engine) as session:
        # A claim takes shards only together whose jobs want the same.
        job = session.get_one(Job, held.claims[0].job_id)
        model = served_model(runtime, session, job.model_version)
        items = pending_items(session, [claim.shard_id for claim in held.claims], model.contract.slices.select)
    still_open = Counter(item.shard_id for item in items)
    return Work(model, job.generation, job.explain, items, still_open, runtime.environment_id())


def _prepare(runtime: Runtime, held: HeldShards, model: ServedModel) -> None:
    """Load the model before any item begins: what a load kills is no item's fault."""
    loaded = runtime.engines.prepare(model)
    while not wait([loaded], timeout=LOAD_LOOK_S).done:
        held.moved()
    loaded.result()


def _run_items(runtime: Runtime, held: HeldShards, work: Work, items: Sequence[PendingItem]) -> None:
    """Decode ahead, predict, commit a window at a time; that an item begins is committed before it is decoded."""
    window = runtime.settings.commit_items
    with ThreadPoolExecutor(max_workers=runtime.settings.decode_processes) as pool:
        ahead: deque[Future[DecodedItem]] = deque()

        def commit_and_send(results: Sequence[ItemResult], following: Sequence[PendingItem]) -> None:
            begun = commit(runtime, held, work, results, following=following)
            for item in begun.items:
                ahead.append(pool.submit(_decode_item, runtime, held, work, item, begun.predicted))

        try:
            position = 2 * window
            commit_and_send((), items[:position])
            # Where a whole window's shards were lost nothing is ahead, and yet others may follow.
            while ahead or (held.claims and position < len(items)):
                results = [work.result_of(ahead.popleft().result()) for _ in range(min(window, len(ahead)))]
                commit_and_send(results, items[position : position + window])
                position += window
        finally:
            for future in ahead:
                future.cancel()


def _decode_item(
    runtime: Runtime,
    held: HeldShards,
    work: Work,
    item: PendingItem,
    predicted: dict[str, int],
) -> DecodedItem:
    """Decode one instance and queue its frames for the engine; a bad instance costs only itself."""
    if predicted.get(item.blob_sha256, 0) >= item.number_of_frames:
        return DecodedItem(item, reused=predicted[item.blob_sha256])
    pending: list[tuple[int, Future[FramePrediction]]] = []
    try:
        model, path = work.model_of(item), work.file_of(runtime.store, item)
        frames = runtime.decoder.frames(path, model.contract, item.frames)
        for number, array in _coming(runtime, frames):
            runtime.room.take(array.nbytes)
            held.moved()
            rank = RANKS.index(held.lane)
            future = runtime.engines.predict(model, array, rank=rank, explain=work.explain)
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
