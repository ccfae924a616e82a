"""What is done with the items of shards that are held together: predictions are made and kept."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from shared.repositories.heat_maps import InstanceMaps, add_heat_maps
from shared.repositories.items import PendingItem
from shared.repositories.predictions import Provenance, add_predictions, predicted_frames
from shared.repositories.tallies import count
from shared.states import Explain
from shared.storage import ContentStore
from worker.engines.requests import ServedModel
from worker.inference.decode import whole_file
from worker.inference.results import DecodedItem, ItemResult, predictions_by_engine, result_of, tallied


@dataclass(frozen=True)
class Work:
    """What the shards have in common, and how many items of each have no outcome yet."""

    model: ServedModel
    generation: int
    explain: Explain
    items: list[PendingItem]
    still_open: Counter[int] = field(default_factory=Counter)
    environment_id: int | None = None

    def models(self) -> Sequence[ServedModel]:
        """What is to be loaded before an item begins."""
        return [self.model]

    def model_of(self, item: PendingItem) -> ServedModel:  # noqa: ARG002 - other work differs by item
        """What predicts on an item."""
        return self.model

    def file_of(self, store: ContentStore, item: PendingItem) -> Path:
        """Where its bytes lie, which are whole; raises DecodeError."""
        return whole_file(store, item.blob_sha256)

    def predicted_frames(self, session: Session, blobs: Sequence[str]) -> dict[str, int]:
        """How many frames of each blob need no prediction any more."""
        digest, generation = self.model.digest, self.generation
        return predicted_frames(session, digest, blobs, generation=generation, explain=self.explain)

    def result_of(self, decoded: DecodedItem) -> ItemResult:
        """What came of an item."""
        return result_of(decoded)

    def keep(self, session: Session, results: Sequence[ItemResult], maps: Sequence[InstanceMaps]) -> None:
        """Write predictions, heat maps and counters, in the transaction of the outcomes."""
        digest, generation = self.model.digest, self.generation
        for computed, predictions in predictions_by_engine(results).items():
            provenance = Provenance(digest, *computed, self.environment_id, generation, self.explain)
            add_predictions(session, predictions, provenance)
        predicted = {result.item.blob_sha256 for result in results}
        add_heat_maps(session, [one for one in maps if one.blob_sha256 in predicted], digest, generation)
        count(session, tallied(results))
