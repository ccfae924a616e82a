"""From what a network gives for instances to what it says of patients, computed as in a report."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.model_contract import ModelContract
from shared.rollup import in_scope, roll_up
from worker.training.samples import Labelled

One = TypeVar("One", bound=Labelled)
# By a file's sha256, the probabilities of its frames: (frames, findings).
Outputs = Mapping[str, NDArray[np.floating]]


def by_patient(contract: ModelContract, samples: Sequence[One]) -> dict[str, list[One]]:
    """Each patient's instances of the studies within the contract's time scope."""
    everything: dict[str, list[One]] = defaultdict(list)
    for sample in samples:
        everything[sample.patient].append(sample)
    return {patient: _in_scope(contract, mine) for patient, mine in everything.items()}


def truth_of(contract: ModelContract, patients: Mapping[str, Sequence[Labelled]]) -> NDArray[np.bool_]:
    """(patients, findings): whether one of the instances shows it."""
    classes = np.array([1]) if contract.task == "binary" else np.arange(len(contract.findings))
    rows = [np.isin(classes, [sample.label for sample in mine]) for mine in patients.values()]
    return np.array(rows, np.bool_).reshape(-1, len(contract.findings))


def rolled_up(
    contract: ModelContract,
    patients: Mapping[str, Sequence[Labelled]],
    outputs: Outputs,
    on_patient: Callable[[], None] = lambda: None,
) -> NDArray[np.float64]:
    """(patients, findings): the probability that the patient has it; `on_patient` is called before each patient."""
    columns = range(len(contract.findings))
    rows = []
    for mine in patients.values():
        on_patient()
        rows.append([_roll_up(contract, mine, outputs, column) for column in columns])
    return np.array(rows, np.float64).reshape(-1, len(columns))


def _in_scope(contract: ModelContract, samples: list[One]) -> list[One]:
    kept = in_scope(contract.time_scope, [sample.study_date for sample in samples])
    return [sample for sample, keep in zip(samples, kept, strict=True) if keep]


def _roll_up(contract: ModelContract, samples: Sequence[Labelled], outputs: Outputs, column: int) -> float:
    """Frame -> instance -> series -> study -> patient."""
    rules = contract.rules_of(contract.findings[column])
    tree: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        instance = roll_up(rules.frames, outputs[sample.sha256][:, column].tolist())
        tree[sample.study][sample.series].append(instance)
    studies = [
        roll_up(rules.series, [roll_up(rules.instances, instances) for instances in series.values()])
        for series in tree.values()
    ]
    return roll_up(rules.studies, studies)
