"""The operating point: the probability from which a patient counts as positive, chosen on the val split."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.model_contract import ModelContract
from worker.engines.base import Engine
from worker.training.patients import by_patient, rolled_up, truth_of
from worker.training.samples import Sample

NUM_RESAMPLES = 500
FRAMES_TOGETHER = 256


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


def choose_thresholds(contract: ModelContract, engine: Engine, samples: Sequence[Sample]) -> list[float | None]:
    """For each finding the threshold that separates these patients best, their probability computed as in a report.

    A patient is truly positive when an instance of a study within the contract's time scope is. None where the
    patients allow no choice, and for a background class.
    """
    patients = by_patient(contract, samples)
    outputs = _outputs(engine, [one for mine in patients.values() for one in mine])
    truth, scores = truth_of(contract, patients), rolled_up(contract, patients, outputs)
    return [
        None if finding.background else youden_threshold(truth[:, column], scores[:, column])
        for column, finding in enumerate(contract.findings)
    ]


def _outputs(engine: Engine, samples: Sequence[Sample]) -> dict[str, NDArray[np.float32]]:
    """What it gives for the frames of each, by the file's sha256."""
    found: dict[str, NDArray[np.float32]] = {}
    for some in _together(samples):
        rows = engine.predict(some[0].frames if len(some) == 1 else np.concatenate([one.frames for one in some]))
        parts = np.split(rows, np.cumsum([len(one.frames) for one in some])[:-1])
        found |= {one.sha256: part for one, part in zip(some, parts, strict=True)}
    return found


def _together(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Instances of together FRAMES_TOGETHER at most, or one: a frame alone costs an engine as much as a batch."""
    some: list[Sample] = []
    count = 0
    for one in samples:
        if some and count + len(one.frames) > FRAMES_TOGETHER:
            yield some
            some, count = [], 0
        some.append(one)
        count += len(one.frames)
    if some:
        yield some
