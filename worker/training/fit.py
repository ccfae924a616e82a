"""Fit the mission's CNN to a labelled cohort and write a model package: `python -m worker.training.fit --help`.

Trains on the split train, stops by the split val and sets the thresholds on it; reads nothing of any other split.
Says how it goes in JSON lines on the standard output.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.config import Settings, load_settings
from shared.errors import InvalidRequestError, OverreadError
from shared.model_contract import ModelContract
from shared.model_package import CONTRACT_FILE, GOLDEN_FILE, WEIGHTS_FILE, load_contract
from worker.engines.base import Engine
from worker.engines.keras import import_keras, load_keras_engine
from worker.networks import mission_cnn
from worker.training.samples import TRAIN, VAL, Sample, data_digest, load_samples, read_labels
from worker.training.threshold import choose_thresholds

BATCH_SIZE = 32
PATIENCE_EPOCHS = 5


@dataclass(frozen=True)
class Fit:
    """How to fit; `num_golden` frames of the split val go into the package: only of images that may leave the house."""

    epochs: int
    seed: int
    num_golden: int = 0


def fit_package(
    cohort: Path, labels: Path, contract_path: Path, out: Path, fit: Fit, settings: Settings
) -> ModelContract:
    """Train on the cohort and write the package directory `out`; returns the contract as written.

    `contract_path` is a `model.json` whose weights and training need not be there: they are filled in.
    """
    contract = _draft_contract(contract_path)
    num_classes = 2 if contract.task == "binary" else len(contract.findings)
    samples, left_out = load_samples(cohort, read_labels(labels, num_classes), contract, settings)
    train = [sample for sample in samples if sample.label.split == TRAIN]
    val = [sample for sample in samples if sample.label.split == VAL]
    if not train or not val:
        raise InvalidRequestError(
            f"{len(train)} instances to train on and {len(val)} to validate on were found, {left_out} could not be "
            "read; there must be some of each: see that the labels name the cohort's files"
        )
    _say(event="data", train=len(train), val=len(val), left_out=left_out)
    network = _train(contract, num_classes, train, val, fit)
    out.mkdir(parents=True, exist_ok=True)
    network.save(out / WEIGHTS_FILE)
    return _finish_contract(contract, out, samples, val, fit.num_golden)


def _draft_contract(path: Path) -> ModelContract:
    try:
        fields = json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidRequestError(f"the contract is not JSON ({error}); mend it") from error
    if isinstance(fields, dict):
        fields |= {"weights": {"file": WEIGHTS_FILE, "sha256": "0" * 64}, "training": None}
        if isinstance(fields.get("proof"), dict):
            fields["proof"] |= {"golden": None}
    contract = load_contract(json.dumps(fields))
    if contract.task == "multilabel" or contract.output != "logits":
        raise InvalidRequestError(
            f"this trains binary and multiclass models that give logits; the contract says {contract.task} and "
            f"{contract.output}"
        )
    return contract


def _train(contract: ModelContract, num_classes: int, train: list[Sample], val: list[Sample], fit: Fit) -> Any:
    """Adam on the cross-entropy from logits; the weights of the epoch with the lowest val loss are kept."""
    keras = import_keras()
    keras.utils.set_random_seed(fit.seed)
    shape = contract.input
    network = mission_cnn.build(shape.rows, shape.columns, shape.channels, num_classes)
    network.compile(
        keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )

    def report(epoch: int, logs: dict[str, float]) -> None:
        _say(event="epoch", epoch=epoch + 1, epochs=fit.epochs, **{name: float(v) for name, v in logs.items()})

    stop = keras.callbacks.EarlyStopping("val_loss", patience=PATIENCE_EPOCHS, restore_best_weights=True)
    network.fit(
        *_arrays(train),
        validation_data=_arrays(val),
        epochs=fit.epochs,
        batch_size=BATCH_SIZE,
        callbacks=[stop, keras.callbacks.LambdaCallback(on_epoch_end=report)],
        verbose=0,
    )
    return network


def _arrays(samples: list[Sample]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """float32 (frames, rows, columns, channels) and int64 (frames,): every frame has its instance's label."""
    frames = np.concatenate([sample.frames for sample in samples])
    labels = np.repeat([sample.label.label for sample in samples], [len(sample.frames) for sample in samples])
    return frames, labels


def _finish_contract(
    contract: ModelContract, out: Path, samples: list[Sample], val: list[Sample], num_golden: int
) -> ModelContract:
    """Fill in weights, thresholds, golden set and training; the thresholds come from the reference engine."""
    digest = hashlib.sha256((out / WEIGHTS_FILE).read_bytes()).hexdigest()
    fields = contract.model_dump(mode="json")
    fields["weights"]["sha256"] = digest
    contract = load_contract(json.dumps(fields))
    engine = load_keras_engine(contract, out / WEIGHTS_FILE, batch_sizes=[BATCH_SIZE])
    thresholds = choose_thresholds(contract, engine, val)
    for finding, threshold in zip(fields["findings"], thresholds, strict=True):
        finding["threshold"] = finding["threshold"] if threshold is None else threshold
    if num_golden:
        fields["proof"]["golden"] = _write_golden(out / GOLDEN_FILE, engine, _arrays(val)[0][:num_golden])
    fields["training"] = {"data_digest": data_digest(samples), "description": _describe(samples)}
    contract = load_contract(json.dumps(fields))
    (out / CONTRACT_FILE).write_text(json.dumps(fields, indent=2) + "\n")
    _say(event="package", weights_sha256=digest, thresholds=thresholds)
    return contract


def _write_golden(path: Path, engine: Engine, frames: NDArray[np.float32]) -> dict[str, str]:
    np.savez(path, frames=frames, probabilities=engine.predict(frames))
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _describe(samples: list[Sample]) -> str:
    parts = []
    for split in (TRAIN, VAL):
        labels = [sample.label for sample in samples if sample.label.split == split]
        patients = len({label.patient_id for label in labels})
        parts.append(f"{split}: {len(labels)} instances of {patients} patients")
    return "; ".join(parts)


def _say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


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
    try:
        fit_package(
            given.cohort,
            given.labels,
            given.contract,
            given.out,
            Fit(given.epochs, given.seed, given.golden),
            load_settings(),
        )
    except OverreadError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    # The same seed gives the same weights; here, because it holds for the whole process.
    os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
    sys.exit(main())
