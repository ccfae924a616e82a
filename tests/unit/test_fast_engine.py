"""A fast engine with the reference behind it: no decision differs, and where the fast one fails the other answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import EngineCrashedError, EngineLostError, InvalidModelPackageError
from tests.engine_targets import KILLS_OTHERS, LOSES_NUMBERS, MARKS, notes
from tests.marked_engines import ANSWER_S, frame, marked_model, marked_thread
from worker.engines.base import BFLOAT16, OPENVINO, EngineChoice
from worker.engines.requests import FramePrediction
from worker.inference.batch import EngineThread, ServedModel

FAST = EngineChoice(OPENVINO, BFLOAT16, (1, 4, 8))
TOLERANCE = 0.01


@pytest.fixture
def thread(tmp_path: Path) -> Iterator[EngineThread]:
    with marked_thread(tmp_path, batch_size=16) as made:
        yield made


def model(folder: Path, kind: str = "well", **changes: Any) -> ServedModel:
    return marked_model(folder, kind, FAST, **changes)


def answers(thread: EngineThread, served: ServedModel, frames: list[NDArray[np.float32]]) -> list[FramePrediction]:
    futures = [thread.predict(served, one) for one in frames]
    return [future.result(ANSWER_S) for future in futures]


def told(answer: FramePrediction) -> tuple[str, str, bool]:
    return answer.engine, answer.precision, answer.repeated


def test_fast_engine_answers_where_it_is_far_from_every_threshold(thread: EngineThread, tmp_path: Path) -> None:
    found = answers(thread, model(tmp_path), [frame(value) for value in (0.0, 0.2, 0.4899, 0.5101, 1.0)])

    assert {told(answer) for answer in found} == {(OPENVINO, BFLOAT16, False)}
    assert {answer.batch_size for answer in found} == {8}
    assert {load["engine"] for load in notes(tmp_path, "load")} == {OPENVINO}


@pytest.mark.parametrize("value", [0.4951, 0.4999, 0.5, 0.5049])
def test_reference_decides_where_the_fast_engine_is_close_to_a_threshold(
    thread: EngineThread, tmp_path: Path, value: float
) -> None:
    served = model(tmp_path, "others-close")

    far, close = answers(thread, served, [frame(0.9), frame(value)])

    assert told(far) == (OPENVINO, BFLOAT16, False)
    assert told(close) == ("marked", "float32", True)
    assert close.batch_size == 16
    assert close.probabilities[0] == np.float32(value)


def test_decisions_are_the_references_for_every_probability(thread: EngineThread, tmp_path: Path) -> None:
    values = np.linspace(0.47, 0.53, 241)

    found = answers(thread, model(tmp_path, "others-close"), [frame(value) for value in values])

    for value, answer in zip(values.astype(np.float32), found, strict=True):
        assert (answer.probabilities[0] >= 0.5) == (value >= 0.5)
        assert abs(answer.probabilities[0] - value) <= TOLERANCE
    assert 0 < sum(answer.repeated for answer in found) < len(found)


def test_reference_answers_where_the_fast_engine_gives_no_number(thread: EngineThread, tmp_path: Path) -> None:
    (found,) = answers(thread, model(tmp_path), [frame(0.25, LOSES_NUMBERS)])

    assert told(found) == ("marked", "float32", True)
    assert found.probabilities[0] == np.float32(0.25)


def test_no_frame_is_repeated_for_a_threshold_that_decides_nothing(thread: EngineThread, tmp_path: Path) -> None:
    always = [{"code": "lesion", "display": "Lesion", "threshold": 0.0}]

    found = answers(thread, model(tmp_path, findings=always), [frame(0.0), frame(0.001)])

    assert not any(answer.repeated for answer in found)


@pytest.mark.parametrize("kind", ["others-missing", "others-refused", "others-exhausted_always", "others-segfault"])
def test_reference_serves_when_the_fast_engine_cannot_be_loaded(
    thread: EngineThread, tmp_path: Path, kind: str
) -> None:
    served = model(tmp_path, kind)

    thread.prepare(served).result(ANSWER_S)
    found = answers(thread, served, [frame(n / 100) for n in range(20)])

    assert [round(float(answer.probabilities[0]), 4) for answer in found] == [n / 100 for n in range(20)]
    assert {told(answer) for answer in found} == {("marked", "float32", False)}
    num_loads = len(notes(tmp_path, "load"))
    assert answers(thread, served, [frame(0.7)])[0].engine == "marked"
    assert len(notes(tmp_path, "load")) == num_loads, "the engine that failed is not tried again"


def test_fast_engine_serves_again_after_the_frame_that_kills_it(thread: EngineThread, tmp_path: Path) -> None:
    served = model(tmp_path)
    answers(thread, served, [frame(0.2)])

    (killed,) = answers(thread, served, [frame(0.3, KILLS_OTHERS)])
    (after,) = answers(thread, served, [frame(0.2)])

    assert told(killed) == ("marked", "float32", False)
    assert told(after) == (OPENVINO, BFLOAT16, False)


def test_frame_fails_when_it_kills_the_reference_too(thread: EngineThread, tmp_path: Path) -> None:
    error = thread.predict(model(tmp_path), frame(0.3, MARKS["segfault"])).exception(ANSWER_S)

    assert isinstance(error, EngineCrashedError)
    assert error.context["evidence"]["tries"] == 3


@pytest.mark.parametrize(("kind", "error"), [("refused", InvalidModelPackageError), ("segfault", EngineLostError)])
def test_error_is_the_references_when_no_engine_can_be_loaded(
    thread: EngineThread, tmp_path: Path, kind: str, error: type[Exception]
) -> None:
    served = model(tmp_path, kind)

    futures = [thread.prepare(served), thread.predict(served, frame(0.1))]

    assert all(isinstance(future.exception(ANSWER_S), error) for future in futures)


def test_engine_is_compiled_for_the_sizes_chosen_that_the_settings_allow(tmp_path: Path, thread: EngineThread) -> None:
    served = model(tmp_path)
    wide = ServedModel("f" * 64, served.contract, tmp_path / "wide", EngineChoice(OPENVINO, BFLOAT16, (1, 8, 16, 64)))

    thread.prepare(served).result(ANSWER_S)
    thread.prepare(wide).result(ANSWER_S)

    assert [load["batch_size"] for load in notes(tmp_path, "load")] == [8, 16]
