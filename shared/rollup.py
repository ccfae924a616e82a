"""How probabilities become one: the rules of a package's `aggregation` and the reach of its `time_scope`."""

import math
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from shared.model_contract import (
    AllStudies,
    LatestStudy,
    MajorityRule,
    MaxRule,
    MeanRule,
    MeanTopKRule,
    NoisyOrRule,
    WindowDays,
)

Rule = MaxRule | MeanRule | MeanTopKRule | NoisyOrRule | MajorityRule
# numpy adds fewer numbers one by one, more of them in pairs; most often there are one or two, and a call takes longer.
FEW = 8


def roll_up(rule: Rule, probabilities: Sequence[float]) -> float:
    """Combine the probabilities of one finding, one or more of them, all finite and in [0, 1]."""
    values = sorted(probabilities, reverse=True)
    if isinstance(rule, MaxRule):
        return values[0]
    if isinstance(rule, MeanTopKRule):
        return _mean(values[: rule.k])
    if isinstance(rule, MajorityRule):
        return values[len(values) // 2]
    if isinstance(rule, NoisyOrRule):
        return 1.0 - math.prod(1.0 - value for value in values)
    return _mean(values)


def _mean(values: Sequence[float]) -> float:
    """To the last bit what numpy makes of them."""
    if len(values) >= FEW:
        return float(np.mean(values))
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def in_scope(scope: LatestStudy | WindowDays | AllStudies, study_dates: Sequence[date | None]) -> list[bool]:
    """Which of a patient's studies the report speaks of; a study without a date counts as older than any other."""
    if isinstance(scope, AllStudies):
        return [True] * len(study_dates)
    latest = max((day for day in study_dates if day), default=None)
    if latest is None:
        return [True] * len(study_dates)
    earliest = latest - timedelta(days=scope.days) if isinstance(scope, WindowDays) else latest
    return [day is not None and day >= earliest for day in study_dates]
