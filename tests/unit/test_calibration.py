"""A calibrated probability says how often patients of it have the finding, and changes nobody's decision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calibration import calibrated
from shared.model_contract import Finding, Platt
from worker.training.calibration import fit_platt

LESION = Finding(code="lesion", display="Lesion", threshold=0.5)


def of(slope: float, intercept: float) -> Finding:
    return LESION.model_copy(update={"calibration": Platt(kind="platt", slope=slope, intercept=intercept)})


def test_without_a_calibration_probabilities_stay() -> None:
    assert calibrated(LESION, np.array([0.0, 0.3, 1.0])).tolist() == [0.0, 0.3, 1.0]


def test_calibrated_is_the_sigmoid_of_the_line_over_the_logit() -> None:
    assert calibrated(of(1.0, 0.0), np.array([0.1, 0.5, 0.9])) == pytest.approx([0.1, 0.5, 0.9])
    assert calibrated(of(2.0, 1.0), np.array([0.5])) == pytest.approx([1 / (1 + np.exp(-1.0))])


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=20),
    st.floats(1e-3, 1e3),
    st.floats(-1e3, 1e3),
)
def test_order_stays_and_all_are_probabilities(values: list[float], slope: float, intercept: float) -> None:
    found = calibrated(of(slope, intercept), np.sort(np.array(values)))

    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= -1e-12).all()


def test_fitted_curve_finds_back_how_scores_were_bent() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=20_000) * 2
    truth = rng.random(len(logits)) < 1 / (1 + np.exp(-(0.4 * logits - 1.0)))
    scores = 1 / (1 + np.exp(-logits))

    found = fit_platt(truth, scores)

    assert found is not None
    assert (found.slope, found.intercept) == (pytest.approx(0.4, abs=0.03), pytest.approx(-1.0, abs=0.05))
    assert fit_platt(truth, scores) == found


def test_classes_that_scores_part_have_a_curve_that_is_not_sure() -> None:
    truth = np.array([False] * 20 + [True] * 10)
    found = fit_platt(truth, np.where(truth, 0.999999, 0.000001))

    assert found is not None
    assert calibrated(of(found.slope, found.intercept), np.array([0.0, 1.0])) == pytest.approx(
        [1 / 22, 11 / 12], abs=0.01
    )


@pytest.mark.parametrize("scores", [[0.5] * 6, [0.9, 0.8, 0.7, 0.3, 0.2, 0.1]])
def test_scores_that_do_not_tell_have_none(scores: list[float]) -> None:
    truth = np.array([False, False, False, True, True, True])

    assert fit_platt(truth, np.array(scores)) is None
    assert fit_platt(np.ones(6, np.bool_), np.linspace(0, 1, 6)) is None
