"""Who gets a heat map through the engine's process, from which engine, and that no prediction is lost over one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.states import Explain, MapMethod, NoMap
from tests.engine_targets import KILLS_EXPLAINER, notes
from tests.marked_engines import ANSWER_S, frame, marked_model, marked_thread
from worker.engines.base import FLOAT32, OPENVINO, EngineChoice
from worker.engines.requests import FramePrediction
from worker.inference.batch import EngineThread, ServedModel


@pytest.fixture
def thread(tmp_path: Path) -> Iterator[EngineThread]:
    with marked_thread(tmp_path, batch_size=8) as made:
        yield made


def answers(
    thread: EngineThread, served: ServedModel, frames: list[NDArray[np.float32]], explain: Explain
) -> list[FramePrediction]:
    futures = [thread.predict(served, one, explain=explain) for one in frames]
    return [future.result(ANSWER_S) for future in futures]


@pytest.mark.parametrize(
    ("explain", "mapped"), [(Explain.POSITIVES, [0.5, 0.9]), (Explain.ALL, [0.1, 0.5, 0.9]), (Explain.NONE, [])]
)
@pytest.mark.parametrize(
    ("kind", "method", "times"), [("mapped", MapMethod.CAM, 1.0), ("well", MapMethod.GRAD_CAM, 2.0)]
)
def test_map_comes_of_those_that_are_asked_for_and_of_no_other(
    thread: EngineThread,
    tmp_path: Path,
    explain: Explain,
    mapped: list[float],
    kind: str,
    method: MapMethod,
    times: float,
) -> None:
    found = answers(thread, marked_model(tmp_path, kind), [frame(value) for value in (0.1, 0.5, 0.9)], explain)

    with_maps = [one for one in found if one.maps.maps]
    assert [round(float(one.probabilities[0]), 4) for one in found] == [0.1, 0.5, 0.9]
    assert [round(float(one.probabilities[0]), 4) for one in with_maps] == mapped
    assert not any(one.maps.missing for one in found)
    assert all(one.maps.method is method for one in with_maps)
    for one, value in zip(with_maps, mapped, strict=True):
        np.testing.assert_array_equal(one.maps.maps[0], np.float16(times) * frame(value)[:, :, 0].astype(np.float16))
    assert {load["engine"] for load in notes(tmp_path, "load")} == (
        {"reference", "explainer"} if method is MapMethod.GRAD_CAM and mapped else {"reference"}
    )


def test_frame_that_the_reference_decides_has_the_references_map(thread: EngineThread, tmp_path: Path) -> None:
    served = marked_model(tmp_path, "mapped")
    fast = ServedModel(served.digest, served.contract, served.weights_path, EngineChoice(OPENVINO, FLOAT32, (1, 8)))

    close, far = answers(thread, fast, [frame(0.501), frame(0.9)], Explain.POSITIVES)

    assert [(one.engine, one.repeated, list(one.maps.maps)) for one in (close, far)] == [
        ("marked", True, [0]),
        (OPENVINO, False, [0]),
    ]


def test_network_that_cannot_be_differentiated_says_why_there_is_no_map(thread: EngineThread, tmp_path: Path) -> None:
    served = marked_model(tmp_path, "well", weights={"file": "weights.onnx", "sha256": "0" * 64})

    (found,) = answers(thread, served, [frame(0.9)], Explain.POSITIVES)

    assert (dict(found.maps.maps), found.maps.missing) == ({}, {0: NoMap.HEAD})
    assert notes(tmp_path, "explain") == []


def test_map_that_holds_no_numbers_is_missing_and_the_prediction_stays(thread: EngineThread, tmp_path: Path) -> None:
    (found,) = answers(thread, marked_model(tmp_path, "mapped"), [frame(0.9, mark=1e6)], Explain.POSITIVES)

    assert float(found.probabilities[0]) == pytest.approx(0.9)
    assert (dict(found.maps.maps), found.maps.missing) == ({}, {0: NoMap.NOT_FINITE})


def test_explainer_that_dies_over_a_frame_costs_only_that_map(thread: EngineThread, tmp_path: Path) -> None:
    frames = [frame(0.6 + n / 100, KILLS_EXPLAINER if n == 2 else 0.0) for n in range(5)]

    found = answers(thread, marked_model(tmp_path, "well"), frames, Explain.POSITIVES)

    assert [round(float(one.probabilities[0]), 4) for one in found] == [0.6, 0.61, 0.62, 0.63, 0.64]
    assert [dict(one.maps.missing) for one in found] == [{}, {}, {0: NoMap.FAILED}, {}, {}]
    assert [len(one.maps.maps) for one in found] == [1, 1, 0, 1, 1]
    assert len(notes(tmp_path, "misbehave")) == 3


def test_explainer_that_cannot_be_loaded_costs_only_maps_and_is_tried_no_more(
    thread: EngineThread, tmp_path: Path
) -> None:
    served = marked_model(tmp_path, "unexplainable")

    found = answers(thread, served, [frame(0.6), frame(0.7)], Explain.POSITIVES)
    later = answers(thread, served, [frame(0.8)], Explain.POSITIVES)

    assert [round(float(one.probabilities[0]), 4) for one in (*found, *later)] == [0.6, 0.7, 0.8]
    assert [dict(one.maps.missing) for one in (*found, *later)] == 3 * [{0: NoMap.FAILED}]
    assert [load["engine"] for load in notes(tmp_path, "load")].count("explainer") == 3
