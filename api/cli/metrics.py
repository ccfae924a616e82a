"""How well probabilities and decisions agree with the truth, a patient each; plain NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    part: int
    whole: int

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None of nothing."""
        return self.part / self.whole if self.whole else None


def sensitivity(truth: Sequence[bool], decisions: Sequence[bool]) -> Share:
    """How many of the truly positive are called positive."""
    called = [decision for label, decision in zip(truth, decisions, strict=True) if label]
    return Share(sum(called), len(called))


def specificity(truth: Sequence[bool], decisions: Sequence[bool]) -> Share:
    """How many of the truly negative are called negative."""
    called = [decision for label, decision in zip(truth, decisions, strict=True) if not label]
    return Share(len(called) - sum(called), len(called))


def auc(truth: ArrayLike, scores: ArrayLike) -> float | None:
    """The area under the ROC curve, by ranks (Mann-Whitney U; Hanley and McNeil 1982,
    doi:10.1148/radiology.143.1.7063747): how often a positive scores above a negative, ties counting half.

    Parameters
    ----------
    truth
        (cases,) bool.
    scores
        (cases,) float, larger means more likely positive.

    Returns
    -------
    0 to 1; None where one of the two classes has no case.
    """
    labels, values = np.asarray(truth, bool), np.asarray(scores, np.float64)
    positive, negative = values[labels], values[~labels]
    if not len(positive) or not len(negative):
        return None
    above = positive[:, np.newaxis] > negative
    level = positive[:, np.newaxis] == negative
    return float((above + 0.5 * level).mean())
