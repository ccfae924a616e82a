"""What is measured of probabilities is what its definition says, on resamples too."""

import numpy as np
import pytest

from worker.training.metrics import METRICS, Answer, all_once, measured, reliability, resamples, roc_curve

RNG = np.random.default_rng(3)
TRUTH = RNG.random(60) < 0.4
# Few distinct values, so that many are equal.
SCORES = np.round(np.clip(TRUTH * 0.2 + RNG.random(60) * 0.8, 0, 1), 1)
ANSWER = Answer(SCORES, 0.5, SCORES)


def test_measures_are_what_their_definitions_say() -> None:
    found = {name: values[0] for name, values in measured(TRUTH, ANSWER, all_once(60)).items()}

    pairs = [(p, n) for p in SCORES[TRUTH] for n in SCORES[~TRUTH]]
    assert found["auc"] == pytest.approx(np.mean([1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs]))
    assert found["sensitivity"] == pytest.approx(np.mean(SCORES[TRUTH] >= 0.5))
    assert found["specificity"] == pytest.approx(np.mean(SCORES[~TRUTH] < 0.5))
    bins = np.minimum((SCORES * 10).astype(int), 9)
    gaps = [abs(np.sum(TRUTH[bins == at] - SCORES[bins == at])) for at in range(10)]
    assert found["calibration_error"] == pytest.approx(np.sum(gaps) / 60)


def test_resample_is_measured_as_if_its_patients_were_there_so_often() -> None:
    counts = resamples(60, seed=1)
    found = measured(TRUTH, ANSWER, counts)

    assert (counts[0] == 1).all()
    assert (counts.sum(axis=1) == 60).all()
    for row in (1, 150, len(counts) - 1):
        drawn = np.repeat(np.arange(60), counts[row])
        alone = measured(TRUTH[drawn], ANSWER.of(drawn), all_once(60))
        for name in METRICS:
            assert found[name][row] == pytest.approx(alone[name][0]), name


def test_calibration_error_alone_is_of_the_calibrated_probabilities() -> None:
    sure = Answer(SCORES, 0.5, np.where(TRUTH, 1.0, 0.0))

    found, plain = (measured(TRUTH, one, all_once(60)) for one in (sure, ANSWER))

    assert found["calibration_error"][0] == 0.0
    assert all(found[name][0] == plain[name][0] for name in METRICS if name != "calibration_error")


def test_what_the_patients_cannot_tell_is_no_number() -> None:
    scores = np.linspace(0, 1, 5)
    found = measured(np.ones(5, np.bool_), Answer(scores, 0.5, scores), all_once(5))

    assert np.isnan(found["auc"][0])
    assert np.isnan(found["specificity"][0])
    assert found["sensitivity"][0] == pytest.approx(0.6)


def test_curves_begin_and_end_where_they_must() -> None:
    points = roc_curve(TRUTH, SCORES)
    area = np.trapezoid([y for _, y in points], [x for x, _ in points])

    assert (points[0], points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert area == pytest.approx(measured(TRUTH, ANSWER, all_once(60))["auc"][0], abs=1e-5)
    assert sum(one["patients"] for one in reliability(TRUTH, SCORES)) == 60


def test_curve_of_very_many_patients_stays_short() -> None:
    truth = np.arange(5000) % 2 == 0

    points = roc_curve(truth, np.linspace(0, 1, 5000))

    assert len(points) <= 201
    assert points[-1] == (1.0, 1.0)
