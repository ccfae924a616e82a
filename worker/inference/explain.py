"""(4) Heat maps of frames: whose engine has none gets them by gradient; of an instance they are one blob."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.errors import PermanentError
from shared.heat_map_file import encode_maps
from shared.model_package import WEIGHTS_FILE
from shared.repositories.heat_maps import InstanceMaps, NewHeatMap
from shared.states import MapMethod, NoMap
from shared.storage import ContentStore
from worker.engines.maps import FrameMaps, HeatMap, wanted_maps
from worker.engines.requests import FramePrediction, FrameRequest

# A frame's number and what was predicted of it.
Frames = Sequence[tuple[int, FramePrediction]]


def maps_of(
    request: FrameRequest, row: NDArray[np.float32], maps: Mapping[int, HeatMap], *, has_maps: bool
) -> FrameMaps:
    """What an engine that has maps, or none at all, gave for a frame, and why not all that was asked for."""
    if request.model.is_explainer:
        wanted, method = request.findings, MapMethod.GRAD_CAM
    else:
        asked = wanted_maps(request.model.contract, row[np.newaxis], [request.explain])
        wanted, method = tuple(np.flatnonzero(asked).tolist()), MapMethod.CAM
    reason = NoMap.NOT_FINITE if has_maps else NoMap.HEAD
    return FrameMaps(method, maps, dict.fromkeys((one for one in wanted if one not in maps), reason))


def explain_request(request: FrameRequest, given: FramePrediction) -> FrameRequest | None:
    """The request for the maps that an engine without any left open; its answer completes `given` for who waits.

    None where there is nothing to ask, or nobody: only Keras networks can be differentiated here.
    """
    model = request.model
    left_open = tuple(one for one, reason in given.maps.missing.items() if reason is NoMap.HEAD)
    if not left_open or model.is_explainer or model.contract.weights.file != WEIGHTS_FILE:
        return None
    following = FrameRequest(model.explainer(), request.array, request.rank, findings=left_open)

    def complete(done: "Future[FramePrediction]") -> None:
        error = done.exception()
        # Whoever waits is told of trouble that passes, as when no process starts; where the explainer refuses, or dies
        # each time, only the map is lost.
        with contextlib.suppress(InvalidStateError):  # whoever waited may have given up
            if error is None:
                request.future.set_result(replace(given, maps=done.result().maps))
            elif isinstance(error, PermanentError):
                request.future.set_result(replace(given, maps=_failed(left_open)))
            else:
                request.future.set_exception(error)

    following.future.add_done_callback(complete)
    return following


def _failed(findings: tuple[int, ...]) -> FrameMaps:
    return FrameMaps(MapMethod.GRAD_CAM, {}, dict.fromkeys(findings, NoMap.FAILED))


def store_maps(store: ContentStore, instances: Mapping[str, Frames]) -> list[InstanceMaps]:
    """Make the maps of these instances, by their digest, durable before any row names them.

    An instance's maps are one blob (`shared.heat_map_file`).
    """
    return [_store(store, sha256, frames) for sha256, frames in instances.items() if any(_rows(frames))]


def _store(store: ContentStore, sha256: str, frames: Frames) -> InstanceMaps:
    rows = list(_rows(frames))
    maps = [one for _, frame in frames for one in frame.maps.maps.values()]
    if not maps:
        return InstanceMaps(sha256, rows)
    blob = store.put(encode_maps(maps))
    return InstanceMaps(sha256, rows, blob.sha256, blob.size_bytes, (maps[0].shape[0], maps[0].shape[1]))


def _rows(frames: Frames) -> Iterator[NewHeatMap]:
    position = 0
    for number, frame in frames:
        for finding in frame.maps.maps:
            yield NewHeatMap(number, finding, frame.maps.method, position=position)
            position += 1
        for finding, reason in frame.maps.missing.items():
            yield NewHeatMap(number, finding, frame.maps.method, no_map=reason)
