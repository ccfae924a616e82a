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
    distinct = np.unique(scores)
    if truth.all() or not truth.any() or len(distinct) == 1:
        return None
    middles = (distinct[:-1] + distinct[1:]) / 2.0
    called = scores[np.newaxis] >= middles[:, np.newaxis]
    index = called[:, truth].mean(axis=1) - called[:, ~truth].mean(axis=1)
    return float(middles[np.argmax(index)])
