"""From what a network gives to the probabilities of the findings, the same for every engine."""

import numpy as np
from numpy.typing import NDArray

from shared.model_contract import ModelContract

PROBABILITY_DECIMALS = 6
"""What float32 carries reliably: the last bit depends on a frame's place in its batch, and an answer must not."""
TOLERANCE = 0.01
"""How far stated probabilities may be from [0, 1], or their sum from 1: half precision rounds this much."""


def to_probabilities(contract: ModelContract, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a network's outputs into probabilities.

    Parameters
    ----------
    outputs
        float32 (batch, outputs), logits or probabilities as the contract says.

    Returns
    -------
    float32 (batch, findings) in [0, 1]. Binary: of one sigmoid output, or of the second of two softmax outputs. A row
    that is not finite, or not probabilities where these are stated, is NaN throughout.
    """
    exclusive = contract.task == "multiclass" or (contract.task == "binary" and outputs.shape[1] > 1)
    values = outputs.astype(np.float64)
    good = np.isfinite(values).all(axis=1)
    values[~good] = 0.0
    if contract.output == "logits":
        values = _softmax(values) if exclusive else _sigmoid(values)
    else:
        good &= ((values >= -TOLERANCE) & (values <= 1.0 + TOLERANCE)).all(axis=1)
        if exclusive:
            good &= np.abs(values.sum(axis=1) - 1.0) <= TOLERANCE
    values = np.clip(values, 0.0, 1.0)
    values[~good] = np.nan
    findings = values[:, 1:] if contract.task == "binary" and exclusive else values
    return findings.astype(np.float32)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
