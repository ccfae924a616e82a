"""The operating point is found where patients differ, rolled up as their reports will be."""

import json
import tracemalloc
from datetime import date
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.calibration import calibrated
from shared.model_package import ModelContract, load_contract
from shared.states import Split
from tests.dicom_samples import MIB
from tests.model_samples import contract_fields
from worker.training.samples import Sample
from worker.training.settle import settled_findings
from worker.training.threshold import youden_threshold


class MeanEngine:
    """Gives each frame's mean as the probability of every finding."""

    name, precision = "mean", "float32"

    def __init__(self, num_findings: int = 1) -> None:
        self._num_findings = num_findings
        self.sizes: list[int] = []

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.sizes.append(len(batch))
        return np.repeat(batch.mean(axis=(1, 2, 3))[:, np.newaxis], self._num_findings, axis=1)


def sample(patient: str, label: int, *frames: float, day: int = 1, series: str = "1") -> Sample:
    values = np.array(frames, np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1), np.float32)
    file = f"{patient} {day} {series} {label} {frames}"
    return Sample(patient, f"1.{day}", series, date(2024, 1, day), file, Split.VAL, label, values)


def contract(**changes: Any) -> ModelContract:
    return load_contract(json.dumps(contract_fields(**changes)))


def thresholds(contract: ModelContract, engine: MeanEngine, samples: list[Sample]) -> list[float]:
    return [one.threshold for one in settled_findings(contract, engine, samples)]


def test_threshold_parts_the_classes_when_they_can_be_parted() -> None:
    truth = np.array([False] * 10 + [True] * 10)
    scores = np.array([0.2] * 10 + [0.6] * 10)

    assert youden_threshold(truth, scores) == pytest.approx(0.4)


def test_threshold_stays_with_the_many_when_one_patient_is_odd() -> None:
    truth = np.array([False] * 10 + [True] * 10)
    scores = np.array([0.2] * 9 + [0.9] + [0.6] * 10)

    threshold = youden_threshold(truth, scores)

    assert threshold == pytest.approx(0.4)
    assert youden_threshold(truth, scores) == threshold


@pytest.mark.parametrize(
    ("truth", "scores"),
    [([True, True], [0.1, 0.9]), ([False, False], [0.1, 0.9]), ([True, False], [0.5, 0.5])],
)
def test_threshold_is_none_when_there_is_no_choice(truth: list[bool], scores: list[float]) -> None:
    assert youden_threshold(np.array(truth), np.array(scores)) is None


def test_thresholds_are_of_patients_not_of_frames() -> None:
    aggregation = {level: {"kind": "max"} for level in ("frames", "instances", "series", "studies")}
    samples = [sample(f"sick-{n}", 1, 0.1, 0.1, 0.8) for n in range(8)]
    samples += [sample(f"well-{n}", 0, 0.1, 0.2, 0.1) for n in range(8)]

    of_maxima = thresholds(contract(aggregation=aggregation), MeanEngine(), samples)
    aggregation["frames"] = {"kind": "mean"}
    of_means = thresholds(contract(aggregation=aggregation), MeanEngine(), samples)

    assert of_maxima == [pytest.approx((0.8 + 0.2) / 2)]
    assert of_means == [pytest.approx((1.0 / 3 + 0.4 / 3) / 2)]


def test_thresholds_leave_out_studies_beyond_the_time_scope() -> None:
    samples = [sample(f"sick-{n}", 1, 0.8, day=2) for n in range(8)]
    for n in range(8):
        samples += [sample(f"healed-{n}", 1, 0.9, day=1), sample(f"healed-{n}", 0, 0.2, day=2)]

    chosen = thresholds(contract(time_scope={"kind": "latest_study"}), MeanEngine(), samples)

    assert chosen == [pytest.approx(0.5)]


def test_thresholds_are_chosen_for_each_finding_but_the_background() -> None:
    samples = [sample(f"virus-{n}", 2, 0.8) for n in range(8)] + [sample(f"normal-{n}", 0, 0.2) for n in range(8)]

    fields = contract_fields(task="multiclass")
    fields["findings"] = [one | {"threshold": 0.7} for one in fields["findings"]]

    chosen = thresholds(load_contract(json.dumps(fields)), MeanEngine(3), samples)

    assert chosen == [0.7, 0.7, pytest.approx(0.5)]


def test_each_finding_is_calibrated_on_patients_where_they_tell() -> None:
    samples = [sample(f"virus-{n}", 2, 0.8) for n in range(8)] + [sample(f"normal-{n}", 0, 0.2) for n in range(8)]

    normal, bacteria, virus = settled_findings(contract(task="multiclass"), MeanEngine(3), samples)

    assert normal.calibration is None  # higher means less often
    assert bacteria.calibration is None  # nobody has it
    assert virus.calibration is not None
    found = calibrated(virus, np.array([0.2, 0.5, 0.8]))
    assert found == pytest.approx([1 / 10, 0.5, 9 / 10], abs=1e-3)


def test_thresholds_of_many_patients_take_little_memory() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(20_000) < 0.1
    scores = np.clip(rng.normal(0.3 + 0.4 * truth, 0.05), 0.0, 1.0)

    tracemalloc.start()
    threshold = youden_threshold(truth, scores)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert threshold == pytest.approx(0.5, abs=0.05)
    assert peak_bytes < 32 * MIB


def test_single_frames_fill_the_batches_of_the_engine() -> None:
    engine = MeanEngine()
    samples = [sample(f"sick-{n}", 1, 0.8) for n in range(500)] + [sample(f"well-{n}", 0, 0.2) for n in range(500)]
    samples += [sample("long", 0, *[0.2] * 600), sample("after", 1, 0.8)]

    chosen = thresholds(contract(), engine, samples)

    assert chosen == [pytest.approx(0.5)]
    assert sum(engine.sizes) == 1601
    assert max(engine.sizes) == 600, "what has more frames than that goes alone"
    assert len(engine.sizes) <= 6
