"""What a package says of its findings that is found on val: the operating point and the calibration of each."""

from collections.abc import Sequence
from typing import Any

from shared.model_contract import Finding, ModelContract
from worker.engines.base import Engine
from worker.training.calibration import fit_platt
from worker.training.patients import by_patient, rolled_up, truth_of
from worker.training.samples import Sample
from worker.training.threshold import youden_threshold


def settled_findings(contract: ModelContract, engine: Engine, samples: Sequence[Sample]) -> list[Finding]:
    """The contract's findings, each with the threshold that parts these patients best and a calibration on them.

    Their probability is computed as in a report, and a patient truly positive when an instance of a study within the
    contract's time scope is. Where the patients allow no choice the threshold stays, and there is no calibration. A
    background class has no threshold to choose.
    """
    patients = by_patient(contract, samples)
    outputs = {one.sha256: engine.predict(one.frames) for mine in patients.values() for one in mine}
    truth, scores = truth_of(contract, patients), rolled_up(contract, patients, outputs)
    settled = []
    for column, finding in enumerate(contract.findings):
        threshold = None if finding.background else youden_threshold(truth[:, column], scores[:, column])
        chosen: dict[str, Any] = {"calibration": fit_platt(truth[:, column], scores[:, column])}
        if threshold is not None:
            chosen |= {"threshold": threshold}
        settled.append(finding.model_copy(update=chosen))
    return settled
