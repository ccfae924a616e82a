"""How well probabilities tell what is there from what is not; on patients, and on resamples of them, at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
Scores = NDArray[np.floating]
# How often each of the patients counts: (rows, patients). That one is drawn 256 times does not happen.
Counts = NDArray[np.uint8]

AUC, SENSITIVITY, SPECIFICITY, CALIBRATION_ERROR = "auc", "sensitivity", "specificity", "calibration_error"
METRICS = (AUC, SENSITIVITY, SPECIFICITY, CALIBRATION_ERROR)
NUM_RESAMPLES = 2000
# Of how many rows times patients is computed at once: each array of them takes 8 MiB.
CELLS = 2**20
NUM_BINS = 10
MOST_POINTS = 200


def auc(truth: Flags, scores: Scores) -> float | None:
    """Area under the ROC curve, equal scores counting half (Mann and Whitney 1947, doi:10.1214/aoms/1177730491).

    None where one side is missing.
    """
    (found,) = _aucs(truth, scores, np.ones((1, len(truth))))
    return None if np.isnan(found) else float(found)


def mean_auc(classes: NDArray[np.int64], probabilities: Scores) -> float | None:
    """Of one column for class 1: its AUC. Of a column for each class: the mean of each against all others."""
    if probabilities.shape[1] == 1:
        return auc(classes == 1, probabilities[:, 0])
    found = [auc(classes == at, probabilities[:, at]) for at in range(probabilities.shape[1])]
    known = [one for one in found if one is not None]
    return float(np.mean(known)) if known else None


def all_once(num_patients: int) -> Counts:
    """Every patient counts once."""
    return np.ones((1, num_patients), np.uint8)


def resamples(num_patients: int, seed: int) -> Counts:
    """First every patient once, then as drawn with replacement, NUM_RESAMPLES times (Efron 1979)."""
    rng = np.random.default_rng(seed)
    counts = np.ones((1 + NUM_RESAMPLES, num_patients), np.uint8)
    for row in counts[1:]:
        row[:] = np.bincount(rng.integers(num_patients, size=num_patients), minlength=num_patients)
    return counts


@dataclass(frozen=True)
class Answer:
    """What a version gave for patients about one finding.

    `scores` (patients,) order them and count as present from `threshold` on; `probabilities` are the same, calibrated.
    """

    scores: Values
    threshold: float
    probabilities: Values

    def of(self, mine: Flags | NDArray[np.int64]) -> "Answer":
        """Of these patients alone, flagged or by their places."""
        return Answer(self.scores[mine], self.threshold, self.probabilities[mine])


def measured(truth: Flags, answer: Answer, counts: Counts) -> dict[str, Values]:
    """Each of METRICS for each row of `counts`, NaN where the patients do not tell.

    The calibration error is the expected one, over bins of equal width
    (Naeini, Cooper and Hauskrecht 2015, AAAI 29, 2901-2907).
    """
    scores, called, bins = answer.scores, answer.scores >= answer.threshold, _bins(answer.probabilities)
    size = max(1, CELLS // len(truth))

    def of_rows(weights: Values) -> Iterator[Values]:
        positives, negatives = weights @ truth, weights @ ~truth
        yield _aucs(truth, scores, weights)
        yield weights @ (truth & called) / positives
        yield weights @ (~truth & ~called) / negatives
        yield np.abs((weights * (truth - answer.probabilities)) @ bins).sum(axis=1) / weights.sum(axis=1)

    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [list(of_rows(counts[at : at + size].astype(np.float64))) for at in range(0, len(counts), size)]
    return {name: np.concatenate(some) for name, some in zip(METRICS, zip(*parts, strict=True), strict=True)}


def roc_curve(truth: Flags, scores: Values) -> list[tuple[float, float]]:
    """(1 - specificity, sensitivity) from nothing called to all called; of very many points some."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]), -1.0))
    hits, misses = np.cumsum(truth[order])[ends], np.cumsum(~truth[order])[ends]
    shown = np.unique(np.linspace(0, len(ends) - 1, min(len(ends), MOST_POINTS)).round().astype(int))
    points = zip(misses[shown] / (~truth).sum(), hits[shown] / truth.sum(), strict=True)
    return [(0.0, 0.0), *((round(float(x), 6), round(float(y), 6)) for x, y in points)]


def reliability(truth: Flags, probabilities: Values) -> list[dict[str, float]]:
    """Of each bin of probabilities that has patients: how many, their mean probability, the share that is positive."""
    return [
        {
            "patients": int(mine.sum()),
            "probability": round(float(probabilities[mine].mean()), 6),
            "positive": round(float(truth[mine].mean()), 6),
        }
        for mine in _bins(probabilities).T.astype(np.bool_)
        if mine.any()
    ]


def _aucs(truth: Flags, scores: Scores, weights: Values) -> Values:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) != 0)) if len(scores) else order
    positives = np.add.reduceat((weights * truth)[:, order], starts, axis=1)
    negatives = np.add.reduceat((weights * ~truth)[:, order], starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    with np.errstate(invalid="ignore"):
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        return np.asarray((positives * (below + negatives / 2)).sum(axis=1) / pairs)


def _bins(probabilities: Values) -> Values:
    """Which of NUM_BINS bins of equal width each is in: (patients, bins), 0 or 1."""
    places = np.minimum((probabilities * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    return np.eye(NUM_BINS)[places]
