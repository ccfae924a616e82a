"""Heat maps as the API tells of them, and as a report's evidence names them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api.pictures import Wanted
from api.schemas.heat_maps import HeatMapNamed
from api.services import services
from shared.errors import NotFoundError
from shared.model_contract import ModelContract
from shared.models import HeatMap, ModelVersion, Prediction
from shared.repositories.heat_maps import get_heat_map, heat_maps_of
from shared.states import NO_MAP_TEXTS


@dataclass(frozen=True)
class FoundMap:
    """A heat map with what it belongs to; its blob is there as far as rows tell."""

    row: HeatMap
    prediction: Prediction
    version: ModelVersion

    @property
    def sha256(self) -> str:
        """Of the blob that holds it."""
        return self.row.blob_sha256 or ""

    @property
    def position(self) -> int:
        """In that blob."""
        return self.row.position or 0

    def picture(self) -> Wanted:
        """What its picture is made of."""
        contract = ModelContract.model_validate(self.version.contract)
        return wanted_picture(self.row, self.prediction.blob_sha256, self.prediction.frame, contract)


def find_heat_map(session: Session, heat_map_id: int) -> FoundMap:
    """The heat map, or NotFoundError."""
    found = get_heat_map(session, heat_map_id)
    if found is None:
        raise NotFoundError("There is no such heat map; a report's evidence names those there are.")
    row, prediction, version = found
    if row.no_map is not None:
        raise NotFoundError(f"There is none: {NO_MAP_TEXTS[row.no_map]}")
    return FoundMap(row, prediction, version)


def wanted_picture(row: HeatMap, blob_sha256: str, frame: int, contract: ModelContract) -> Wanted:
    """What the picture of a map over its frame is made of."""
    store = services().store
    return Wanted(
        path=str(store.path(blob_sha256)),
        frame=frame,
        map_path=str(store.path(row.blob_sha256 or "")),
        position=row.position or 0,
        resize=contract.preprocess.resize,
        input_shape=(contract.input.rows, contract.input.columns),
    )


def named(row: HeatMap) -> HeatMapNamed:
    """Its id, how it was made, and where it is."""
    base = f"/api/v1/heat-maps/{row.id}"
    return HeatMapNamed(id=row.id, method=row.method, links={"self": base, "png": f"{base}.png"})


def explained_document(
    session: Session, document: dict[str, Any], version: ModelVersion
) -> tuple[dict[str, Any], dict[int, Wanted]]:
    """A report's document, each row of evidence with its `heat_map`, or with a word why there is none.

    And what the pictures of these are made of, by the map's id.
    """
    blobs = {one["blob_sha256"] for finding in document["findings"] for one in finding["evidence"]}
    maps = heat_maps_of(session, version.digest, sorted(blobs))
    contract = ModelContract.model_validate(version.contract)
    pictures: dict[int, Wanted] = {}

    def explained(index: int, evidence: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for one in evidence:
            row = maps.get((one["blob_sha256"], one["frame"], index))
            if row is not None and row.no_map is None:
                pictures[row.id] = wanted_picture(row, one["blob_sha256"], one["frame"], contract)
                yield one | {"heat_map": named(row).model_dump(mode="json"), "no_heat_map": None}
            else:
                yield one | {"heat_map": None, "no_heat_map": row and row.no_map and NO_MAP_TEXTS[row.no_map]}

    findings = [
        finding | {"evidence": list(explained(index, finding["evidence"]))}
        for index, finding in enumerate(document["findings"])
    ]
    return document | {"findings": findings}, pictures
