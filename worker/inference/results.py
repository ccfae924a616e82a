"""From one instance's predictions, or why there are none, to the rows that say so."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.errors import PermanentError
from shared.reasons import Reason
from shared.repositories.items import PendingItem
from shared.repositories.outcomes import Outcome
from shared.repositories.predictions import NewPrediction
from shared.repositories.tallies import FRAMES_PREDICTED, FRAMES_REPEATED, HEAT_MAPS, HEAT_MAPS_MISSING
from shared.states import ItemState
from worker.engines.probabilities import PROBABILITY_DECIMALS
from worker.inference.batch import FramePrediction


@dataclass(frozen=True)
class DecodedItem:
    """One item whose frames are on their way through the engine, or that ended before."""

    item: PendingItem
    pending: Sequence[tuple[int, Future[FramePrediction]]] = ()
    error: PermanentError | None = None
    reused: int = 0


@dataclass(frozen=True)
class ItemResult:
    """One item's predictions, or why there are none."""

    item: PendingItem
    frames: Sequence[tuple[int, FramePrediction]] = ()
    reason: Reason | None = None
    detail: str = ""
    reused: int = 0
    evidence: dict[str, Any] | None = None


def result_of(decoded: DecodedItem) -> ItemResult:
    """Wait for an item's predictions. An item that failed at a later frame has none: no half answers."""
    item, error = decoded.item, decoded.error
    if decoded.reused:
        return ItemResult(item, reused=decoded.reused)
    try:
        frames = [(number, future.result()) for number, future in decoded.pending]
    except PermanentError as engine_error:
        error = error or engine_error
    if error is not None:
        return ItemResult(item, reason=error.recorded_reason, detail=error.message, evidence=_evidence(item, error))
    if not frames:
        return ItemResult(item, reason=Reason.NO_PIXEL_DATA)
    if not all(np.isfinite(prediction.probabilities).all() for _, prediction in frames):
        return ItemResult(item, reason=Reason.NON_FINITE_PROBABILITY)
    return ItemResult(item, frames=frames)


def _evidence(item: PendingItem, error: PermanentError) -> dict[str, Any] | None:
    """What a process left that the item ended, with the item's digest; None where it ended none."""
    found = error.context.get("evidence")
    return {**found, "sha256": item.blob_sha256} if isinstance(found, dict) else None


def predictions_by_engine(results: Sequence[ItemResult]) -> dict[tuple[str, str, int], list[NewPrediction]]:
    """The new rows, by engine, precision and size of batch."""
    found: dict[tuple[str, str, int], list[NewPrediction]] = {}
    for result in results:
        for number, frame in result.frames:
            probabilities = [round(float(value), PROBABILITY_DECIMALS) for value in frame.probabilities]
            prediction = NewPrediction(result.item.blob_sha256, number, probabilities)
            found.setdefault((frame.engine, frame.precision, frame.batch_size), []).append(prediction)
    return found


def tallied(results: Sequence[ItemResult]) -> dict[str, int]:
    """Counters: frames predicted, those of them that the reference repeated, and their heat maps."""
    frames = [frame for result in results for _, frame in result.frames]
    return {
        FRAMES_PREDICTED: len(frames),
        FRAMES_REPEATED: sum(frame.repeated for frame in frames),
        HEAT_MAPS: sum(len(frame.maps.maps) for frame in frames),
        HEAT_MAPS_MISSING: sum(len(frame.maps.missing) for frame in frames),
    }


def outcome_of(result: ItemResult) -> Outcome:
    """The item's outcome."""
    item_id = result.item.item_id
    if result.reason is not None:
        return Outcome(item_id, ItemState.FAILED, result.reason, result.detail, evidence=result.evidence)
    frames = len(result.frames) or result.reused
    return Outcome(item_id, ItemState.DONE, frames=frames, reused=bool(result.reused))
