"""What a package says of its findings that is found on val: the operating point and the calibration of each."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.model_contract import Finding, ModelContract
from worker.engines.base import Engine
from worker.training.calibration import fit_platt
from worker.training.patients import by_patient, rolled_up, truth_of
from worker.training.samples import Sample
from worker.training.threshold import youden_threshold

FRAMES_TOGETHER = 256


def settled_findings(contract: ModelContract, engine: Engine, samples: Sequence[Sample]) -> list[Finding]:
    """The contract's findings, each with the threshold that parts these patients best and a calibration on them.

    Their probability is computed as in a report, and a patient truly positive when an instance of a study within the
    contract's time scope is. Where the patients allow no choice the threshold stays, and there is no calibration. A
    background class has no threshold to choose.
    """
    patients = by_patient(contract, samples)
    outputs = _outputs(engine, [one for mine in patients.values() for one in mine])
    truth, scores = truth_of(contract, patients), rolled_up(contract, patients, outputs)
    settled = []
    for column, finding in enumerate(contract.findings):
        threshold = None if finding.background else youden_threshold(truth[:, column], scores[:, column])
        chosen: dict[str, Any] = {"calibration": fit_platt(truth[:, column], scores[:, column])}
        if threshold is not None:
            chosen |= {"threshold": threshold}
        settled.append(finding.model_copy(update=chosen))
    return settled


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
