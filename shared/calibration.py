"""A package's calibration: from what is rolled up for a patient to how often such patients have the finding."""

import numpy as np
from numpy.typing import NDArray

from shared.model_contract import Finding

# Half of the last of the six decimals that probabilities are stored with: 0 and 1 have no logit.
LEAST = 5e-7


def logit(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)), of 0 and 1 as of what is closest to them."""
    # np.clip says the same and takes three times as long of a few numbers.
    inner = np.minimum(np.maximum(probabilities, LEAST), 1.0 - LEAST)
    return np.asarray(np.log(inner / (1.0 - inner)))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)), which never overflows."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def calibrated(finding: Finding, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the same shape; as they are where the package has no calibration for the finding.

    The order of probabilities stays, so whoever is at or over the threshold is at or over the calibrated threshold.
    """
    how = finding.calibration
    return probabilities if how is None else sigmoid(how.slope * logit(probabilities) + how.intercept)
