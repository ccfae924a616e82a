"""Predicts again on what a report was made of, and compares with what is stored; nothing is reused, nothing is kept.

A frame is computed by the engine that its prediction names where this worker serves the model with that one, else by
the reference, which every worker has. Either way the probabilities may differ by the package's tolerance: the reference
is what a faster engine was proved against, within that tolerance, and the same engine on another machine, or in batches
of another size, rounds otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy.orm import Session

from shared.errors import DecodeError
from shared.model_contract import ModelContract
from shared.reasons import Reason
from shared.repositories.heat_maps import InstanceMaps
from shared.repositories.items import PendingItem
from shared.repositories.predictions import StoredFrame
from shared.storage import ContentStore
from worker.engines.probabilities import PROBABILITY_DECIMALS
from worker.engines.requests import FramePrediction, ServedModel
from worker.inference.results import DecodedItem, ItemResult, result_of
from worker.inference.work import Work
from worker.verification.stored import fault_of

# Both are rounded to so many decimals before they are compared.
ROUNDING = 10.0**-PROBABILITY_DECIMALS


@dataclass(frozen=True)
class Recomputation(Work):
    """`stored`: of each item, what the report was made of."""

    stored: Mapping[int, Sequence[StoredFrame]] = field(default_factory=dict)

    def models(self) -> Sequence[ServedModel]:
        """See `Work`; the reference only where an item wants it."""
        return list({model.key: model for model in map(self.model_of, self.items)}.values())

    def model_of(self, item: PendingItem) -> ServedModel:
        """See `Work`; the engine that a frame names, as far as this worker serves it."""
        choice = self.model.choice
        named = {(one.engine, one.precision) for one in self.stored.get(item.item_id, ())}
        return self.model if (choice.engine, choice.precision) in named else self.model.reference()

    def file_of(self, store: ContentStore, item: PendingItem) -> Path:
        """See `Work`; damaged bytes are left where they lie."""
        if fault := fault_of(store, item.blob_sha256):
            raise DecodeError(fault.told, reason=fault.reason)
        return store.path(item.blob_sha256)

    def predicted_frames(self, session: Session, blobs: Sequence[str]) -> dict[str, int]:  # noqa: ARG002 - as in `Work`
        """See `Work`; everything is computed again."""
        return {}

    def result_of(self, decoded: DecodedItem) -> ItemResult:
        """See `Work`; a prediction that differs fails its item."""
        result = result_of(decoded)
        if result.reason is not None:
            return result
        told = difference(self.model.contract, self.stored.get(result.item.item_id, ()), result.frames)
        return replace(result, reason=Reason.PREDICTION_DIFFERS, detail=told) if told else result

    def keep(self, session: Session, results: Sequence[ItemResult], maps: Sequence[InstanceMaps]) -> None:
        """See `Work`; the outcomes are all that is kept."""


def difference(
    contract: ModelContract, stored: Sequence[StoredFrame], frames: Sequence[tuple[int, FramePrediction]]
) -> str | None:
    """In words, how far the computed frames are from the stored ones; None where they are the same within tolerance."""
    known = {one.frame: one for one in stored}
    if known.keys() != {number for number, _ in frames}:
        return f"{len(known)} frames are stored, {len(frames)} come of the bytes"
    worst = max((_worst(contract, known[number], number, made) for number, made in frames), default=(0.0, ""))
    distance, told = worst
    tolerance = contract.proof.tolerance
    return f"{told}; {tolerance:g} is allowed" if distance > tolerance + ROUNDING else None


def _worst(contract: ModelContract, stored: StoredFrame, number: int, made: FramePrediction) -> tuple[float, str]:
    """The largest distance of a frame's probabilities, and between what."""
    values = [float(value) for value in made.probabilities]
    if len(values) != len(stored.probabilities):
        return float("inf"), f"frame {number}: {len(stored.probabilities)} probabilities are stored"
    pairs = zip(contract.findings, stored.probabilities, values, strict=True)
    distance, code, before, after = max((abs(old - new), finding.code, old, new) for finding, old, new in pairs)
    by = f"{made.engine} in {made.precision}"
    return distance, f"frame {number}, {code}: {before:.6f} is stored, {after:.6f} comes of the bytes ({by})"
