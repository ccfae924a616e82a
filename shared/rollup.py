"""How probabilities become one: the rules of a package's `aggregation` and the reach of its `time_scope`."""

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


def roll_up(rule: Rule, probabilities: Sequence[float]) -> float:
    """Combine the probabilities of one finding, one or more of them, all finite and in [0, 1]."""
    values = np.sort(np.asarray(probabilities, np.float64))[::-1]
    if isinstance(rule, MaxRule):
        return float(values[0])
    if isinstance(rule, MeanTopKRule):
        return float(values[: rule.k].mean())
    if isinstance(rule, MajorityRule):
        return float(values[len(values) // 2])
    if isinstance(rule, NoisyOrRule):
        return float(1.0 - np.prod(1.0 - values))
    return float(values.mean())


def in_scope(scope: LatestStudy | WindowDays | AllStudies, study_dates: Sequence[date | None]) -> list[bool]:
    """Which of a patient's studies the report speaks of; a study without a date counts as older than any other."""
    if isinstance(scope, AllStudies):
        return [True] * len(study_dates)
    latest = max((day for day in study_dates if day), default=None)
    if latest is None:
        return [True] * len(study_dates)
    earliest = latest - timedelta(days=scope.days) if isinstance(scope, WindowDays) else latest
    return [day is not None and day >= earliest for day in study_dates]
