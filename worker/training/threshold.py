"""The operating point: the probability from which a patient counts as positive, chosen on the val split."""

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 500


def youden_threshold(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """The threshold of the largest sensitivity + specificity - 1, or None where there is no choice.

    (Youden 1950, doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.) The mean over resamples of the
    patients, since the best cut of a dozen patients hangs on one or two of them; the same for the same input.
    """
    rng = np.random.default_rng(0)
    picks = (rng.integers(len(scores), size=len(scores)) for _ in range(NUM_RESAMPLES))
    cuts = [cut for pick in picks if (cut := _best_cut(truth[pick], scores[pick])) is not None]
    return float(np.mean(cuts)) if cuts else None


def _best_cut(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Midway between two scores; of equally good cuts the lowest, which misses fewer."""
    distinct, places = np.unique(scores, return_inverse=True)
    if truth.all() or not truth.any() or len(distinct) == 1:
        return None
    sensitivity, false_alarms = (_shares_above(places[mine], len(distinct)) for mine in (truth, ~truth))
    best = int(np.argmax(sensitivity - false_alarms))
    return float((distinct[best] + distinct[best + 1]) / 2.0)


def _shares_above(places: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """For each of `count` places but the last, the share of these that lie behind it."""
    up_to = np.cumsum(np.bincount(places, minlength=count))
    return (len(places) - up_to[:-1]) / len(places)
