"""Fit the mission's CNN to a labelled cohort and write a model package: `python -m worker.training.fit --help`.

Trains on the split train, stops by the split val and sets the thresholds on it; reads nothing of any other split.
Says how it goes in JSON lines on the standard output.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.config import Settings, load_settings
from shared.datasets.truth import class_names
from shared.errors import InvalidRequestError, OverreadError
from shared.model_contract import ModelContract
from shared.model_draft import read_draft
from shared.states import Split
from shared.training_options import Augment, TrainingOptions
from worker.training.events import say
from worker.training.loop import Training
from worker.training.package import write_package
from worker.training.samples import data_digest, examples_of, load_samples, read_labels
from worker.training.scratch import new_network

NETWORK = "mission_cnn"
PATIENCE_EPOCHS = 5


def fit_package(
    cohort: Path,
    labels: Path,
    contract_path: Path,
    out: Path,
    options: TrainingOptions,
    settings: Settings,
    *,
    num_golden: int = 0,
) -> ModelContract:
    """Train on the cohort and write the package directory `out`; returns the contract as written.

    `contract_path` is a `model.json` whose weights and training need not be there: they are filled in. `num_golden`
    frames of the split val go into the package: only of images that may leave the house.
    """
    contract = read_draft(contract_path.read_bytes())
    num_classes = len(class_names(contract))
    samples, left_out = load_samples(cohort, read_labels(labels, num_classes), contract, settings)
    train = [sample for sample in samples if sample.split is Split.TRAIN]
    val = [sample for sample in samples if sample.split is Split.VAL]
    if not train or not val:
        raise InvalidRequestError(
            f"{len(train)} instances to train on and {len(val)} to validate on were found, {left_out} could not be "
            "read; there must be some of each: see that the labels name the cohort's files"
        )
    say(event="data", train=len(train), val=len(val), left_out=left_out)
    network = new_network(NETWORK, contract, num_classes, options.seed)
    training = Training(network, contract, examples_of(train), examples_of(val), options)
    for moment in training.moments():
        if moment.ended:
            say(event="epoch", epochs=options.epochs, **moment.ended)
    training.finish()
    written = write_package(network, contract, samples, out, data_digest=data_digest(samples), num_golden=num_golden)
    thresholds = [finding.threshold for finding in written.findings]
    say(event="package", weights_sha256=written.weights.sha256, thresholds=thresholds)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 when the input is at fault, which is said on the standard error."""
    parser = argparse.ArgumentParser("python -m worker.training.fit", description=__doc__)
    parser.add_argument("--cohort", type=Path, required=True, help="folder of DICOM files")
    parser.add_argument("--labels", type=Path, required=True, help="labels.csv: patient_id, sop_instance_uid, ...")
    parser.add_argument("--contract", type=Path, required=True, help="model.json, weights left open")
    parser.add_argument("--out", type=Path, required=True, help="folder of the package to write")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--golden", type=int, default=0, help="frames of val that go into the package's golden set")
    given = parser.parse_args(arguments)
    options = TrainingOptions(
        start="scratch",
        epochs=given.epochs,
        seed=given.seed,
        decay="constant",
        patience_epochs=PATIENCE_EPOCHS,
        class_weights=False,
        augment=Augment(shift=0.0),
    )
    try:
        fit_package(
            given.cohort,
            given.labels,
            given.contract,
            given.out,
            options,
            load_settings(),
            num_golden=given.golden,
        )
    except OverreadError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    # The same seed gives the same weights; here, because it holds for the whole process.
    os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
    sys.exit(main())
