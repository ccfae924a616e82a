"""Heat maps: a row for each finding of a prediction that was asked about; first wins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.heat_map_file import MEDIA_TYPE
from shared.models import Blob, HeatMap, ModelVersion, Prediction
from shared.repositories.parts import in_parts
from shared.states import MapMethod, NoMap


@dataclass(frozen=True)
class NewHeatMap:
    """The map of one finding of one frame, `position` in its blob of maps; or why there is none."""

    frame: int
    finding: int
    method: MapMethod
    no_map: NoMap | None = None
    position: int | None = None


@dataclass(frozen=True)
class InstanceMaps:
    """The maps of one instance, and the blob that holds them, each `shape` cells large; no blob without any."""

    blob_sha256: str
    maps: Sequence[NewHeatMap]
    maps_sha256: str | None = None
    size_bytes: int = 0
    shape: tuple[int, int] | None = None


def add_heat_maps(session: Session, found: Sequence[InstanceMaps], model_digest: str, generation: int) -> None:
    """Insert what is new, after the predictions that the maps belong to; the blobs are durable already.

    In the order of their keys: on PostgreSQL who adds a row waits for whoever adds the same one.
    """
    made = {one.maps_sha256: one.size_bytes for one in found if one.maps_sha256 is not None}
    common = {"media_type": MEDIA_TYPE, "created_at": utc_now()}
    blobs = [{"sha256": sha256, "size_bytes": size, **common} for sha256, size in sorted(made.items())]
    if blobs:
        session.execute(_insert(session, Blob).on_conflict_do_nothing(), blobs)
    predictions = _prediction_ids(session, [one.blob_sha256 for one in found], model_digest, generation)
    rows = [
        {
            "prediction_id": predictions[one.blob_sha256, new.frame],
            "finding": new.finding,
            "method": new.method,
            "no_map": new.no_map,
            "position": new.position,
            "blob_sha256": None if new.position is None else one.maps_sha256,
            "rows": None if new.position is None or one.shape is None else one.shape[0],
            "columns": None if new.position is None or one.shape is None else one.shape[1],
        }
        for one in sorted(found, key=lambda one: one.blob_sha256)
        for new in one.maps
    ]
    if rows:
        session.execute(_insert(session, HeatMap).on_conflict_do_nothing(), rows)


def _insert(session: Session, table: type[Blob | HeatMap]) -> Any:
    return (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(table)


def _prediction_ids(
    session: Session, blobs: Sequence[str], model_digest: str, generation: int
) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for some in in_parts(blobs):
        statement = select(Prediction.blob_sha256, Prediction.frame, Prediction.id).where(
            Prediction.blob_sha256.in_(some),
            Prediction.model_digest == model_digest,
            Prediction.generation == generation,
        )
        found.update({(sha256, frame): row_id for sha256, frame, row_id in session.execute(statement)})
    return found


def get_heat_map(session: Session, heat_map_id: int) -> tuple[HeatMap, Prediction, ModelVersion] | None:
    """A heat map with its prediction and a model version of that digest."""
    statement = (
        select(HeatMap, Prediction, ModelVersion)
        .join(Prediction, Prediction.id == HeatMap.prediction_id)
        .join(ModelVersion, ModelVersion.digest == Prediction.model_digest)
        .where(HeatMap.id == heat_map_id)
        .order_by(ModelVersion.id)
        .limit(1)
    )
    row = session.execute(statement).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


def heat_maps_of(session: Session, model_digest: str, blobs: Sequence[str]) -> Mapping[tuple[str, int, int], HeatMap]:
    """The heat maps of predictions on these blobs, by (blob, frame, finding); of several generations the latest."""
    found: dict[tuple[str, int, int], HeatMap] = {}
    for some in in_parts(blobs):
        statement = (
            select(Prediction.blob_sha256, Prediction.frame, HeatMap)
            .join(Prediction, Prediction.id == HeatMap.prediction_id)
            .where(Prediction.blob_sha256.in_(some), Prediction.model_digest == model_digest)
            .order_by(Prediction.generation)
        )
        found.update({(sha256, frame, one.finding): one for sha256, frame, one in session.execute(statement)})
    return found
