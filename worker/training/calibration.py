"""Platt's calibration, fitted on val: how often patients of such a probability have the finding."""

import numpy as np
from numpy.typing import NDArray

from shared.calibration import logit, sigmoid
from shared.model_contract import MOST_STEEP, Platt

MOST_STEPS = 100
CLOSE = 1e-9
HALVINGS = 40
DECIMALS = 6


def fit_platt(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Platt | None:
    """The curve of the largest likelihood, or None where there is no choice or higher scores mean less often.

    The classes count as slightly unsure, by Bayes, so that scores that part them have a curve too (Platt 1999, in
    Advances in Large Margin Classifiers, 61-74); by Newton's method (Lin, Lin and Weng 2007,
    doi:10.1007/s10994-007-5018-6). The same for the same input.
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives or len(np.unique(scores)) == 1:
        return None
    wanted = np.where(truth, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))
    inputs = np.column_stack([logit(scores), np.ones(len(scores))])
    slope, intercept = (round(float(one), DECIMALS) for one in _fitted(inputs, wanted))
    if not 0 < slope <= MOST_STEEP or abs(intercept) > MOST_STEEP:
        return None
    return Platt(kind="platt", slope=slope, intercept=intercept)


def _fitted(inputs: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope and intercept with the smallest cross entropy; inputs is (patients, 2)."""
    found = np.zeros(2)
    for _ in range(MOST_STEPS):
        given = sigmoid(inputs @ found)
        gradient = inputs.T @ (given - wanted)
        curvature = (inputs * (given * (1.0 - given))[:, np.newaxis]).T @ inputs + 1e-12 * np.eye(2)
        step = np.asarray(np.linalg.solve(curvature, gradient), np.float64)
        if np.abs(step).max() < CLOSE:
            break
        found = _nearer(inputs, wanted, found, step)
    return found


def _nearer(
    inputs: NDArray[np.float64], wanted: NDArray[np.float64], found: NDArray[np.float64], step: NDArray[np.float64]
) -> NDArray[np.float64]:
    """As much of the step as makes it better."""
    now = _entropy(inputs @ found, wanted)
    for halving in range(HALVINGS):
        tried = found - step / 2.0**halving
        if _entropy(inputs @ tried, wanted) <= now:
            return tried
    return found


def _entropy(logits: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0.0, logits) - wanted * logits).sum())
