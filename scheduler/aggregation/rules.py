"""The package's rules: many probability vectors -> one. Pure; order and duplicates of the calls do not matter."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.model_contract import MaxRule, MeanRule, MeanTopKRule, NoisyOrRule

Vector = NDArray[np.float64]
Rule = MaxRule | MeanRule | MeanTopKRule | NoisyOrRule


def combine(rule: Rule, vectors: Sequence[Vector]) -> Vector | None:
    """Combine probability vectors of one level into one of the level above.

    Parameters
    ----------
    rule
        Of the model package, for this level.
    vectors
        Each of shape (findings,), float64, probabilities in [0, 1].

    Returns
    -------
    NDArray or None
        Shape (findings,); None when there is nothing to combine.
    """
    if not vectors:
        return None
    stacked = np.stack(vectors)
    if isinstance(rule, MeanTopKRule):
        # Sorted per finding: the k largest of each, or all where there are fewer.
        return np.asarray(np.sort(stacked, axis=0)[-rule.k :].mean(axis=0))
    return _SIMPLE[rule.kind](stacked)


def _noisy_or(stacked: Vector) -> Vector:
    return np.asarray(1.0 - np.prod(1.0 - stacked, axis=0))


_SIMPLE: dict[str, Callable[[Vector], Vector]] = {
    "max": lambda stacked: np.asarray(stacked.max(axis=0)),
    # Sorted first, so that the sum does not depend on the order the rows came in.
    "mean": lambda stacked: np.asarray(np.sort(stacked, axis=0).mean(axis=0)),
    "noisy_or": lambda stacked: _noisy_or(np.sort(stacked, axis=0)),
}
