"""How well a network's probabilities separate what is there from what is not."""

import numpy as np
from numpy.typing import NDArray


def auc(truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> float | None:
    """Area under the ROC curve, equal scores counting half (Mann and Whitney 1947, doi:10.1214/aoms/1177730491).

    None where one side is missing.
    """
    positives, negatives = scores[truth], np.sort(scores[~truth])
    if not len(positives) or not len(negatives):
        return None
    below = np.searchsorted(negatives, positives, "left")
    not_above = np.searchsorted(negatives, positives, "right")
    return float((below + not_above).mean() / (2 * len(negatives)))


def mean_auc(classes: NDArray[np.int64], probabilities: NDArray[np.floating]) -> float | None:
    """Of one column for class 1: its AUC. Of a column for each class: the mean of each against all others."""
    if probabilities.shape[1] == 1:
        return auc(classes == 1, probabilities[:, 0])
    found = [auc(classes == at, probabilities[:, at]) for at in range(probabilities.shape[1])]
    known = [one for one in found if one is not None]
    return float(np.mean(known)) if known else None
