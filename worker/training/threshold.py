"""The operating point: the probability from which a patient counts as positive, chosen on the val split."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.model_contract import ModelContract
from shared.rollup import in_scope, roll_up
from worker.engines.base import Engine
from worker.training.samples import Sample

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


def choose_thresholds(contract: ModelContract, engine: Engine, samples: Sequence[Sample]) -> list[float | None]:
    """For each finding the threshold that separates these patients best, their probability computed as in a report.

    A patient is truly positive when an instance of a study within the contract's time scope is. None where the
    patients allow no choice, and for a background class.
    """
    by_patient: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_patient[sample.patient].append(sample)
    patients = [_in_scope(contract, mine) for mine in by_patient.values()]
    predicted = [[engine.predict(sample.frames) for sample in mine] for mine in patients]
    chosen: list[float | None] = []
    for column, finding in enumerate(contract.findings):
        positive_class = 1 if contract.task == "binary" else column
        truth = np.array([any(s.label == positive_class for s in mine) for mine in patients])
        scores = np.array(
            [
                _patient_probability(contract, mine, [frames[:, column] for frames in outputs])
                for mine, outputs in zip(patients, predicted, strict=True)
            ]
        )
        chosen.append(None if finding.background else youden_threshold(truth, scores))
    return chosen


def _in_scope(contract: ModelContract, samples: list[Sample]) -> list[Sample]:
    kept = in_scope(contract.time_scope, [sample.study_date for sample in samples])
    return [sample for sample, keep in zip(samples, kept, strict=True) if keep]


def _patient_probability(contract: ModelContract, samples: list[Sample], frames: list[NDArray[np.float32]]) -> float:
    """Roll up frame -> instance -> series -> study -> patient."""
    rules = contract.aggregation
    tree: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample, values in zip(samples, frames, strict=True):
        instance = roll_up(rules.frames, values.tolist())
        tree[sample.study][sample.series].append(instance)
    studies = [
        roll_up(rules.series, [roll_up(rules.instances, instances) for instances in series.values()])
        for series in tree.values()
    ]
    return roll_up(rules.studies, studies)
