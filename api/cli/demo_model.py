"""The demo's model packages: the CNN fitted to the phantoms, and the same one accepting any image."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from api.cli.client import Json
from api.cli.errors import StartError
from api.cli.training_child import run_training_module

EPOCHS = 12
# Made images may leave the house, so the package brings what engines are proved on.
GOLDEN_INPUTS = 48
CONTRACT_FILE = "model.json"
FIT_MODULE = "fit"

CONTRACT: Json = {
    "schema": "overread.model/1",
    "name": "phantom-lesion",
    "description": "Finds a lesion in made chest images.",
    "intended_use": "Shows how Overread works. Fitted to made images: says nothing about a person.",
    "licence": "Apache-2.0",
    "task": "binary",
    "output": "logits",
    "findings": [{"code": "lesion", "display": "Lesion", "threshold": 0.5}],
    "accepts": {"modalities": ["CR", "DX", "CT"], "body_parts": ["CHEST"]},
    "input": {"rows": 64, "columns": 64, "channels": 1},
    "preprocess": {
        "units": "modality",
        "intensity": {"kind": "dicom_window"},
        "resize": "stretch",
        "normalise": {"mean": [0.5], "std": [0.25]},
    },
    "aggregation": {level: {"kind": "max"} for level in ("frames", "instances", "series", "studies")},
    "time_scope": {"kind": "latest_study"},
}
ANY_IMAGE: Json = {
    "name": "phantom-lesion-any-image",
    "description": "The same network, made to take any image, to show what becomes of real files.",
    "intended_use": "Shows decoding and preprocessing. Its probabilities on such images mean nothing.",
    "accepts": {},
}


def fit_model(
    cohort: Path,
    package: Path,
    seed: int,
    log_dir: Path,
    on_epoch: Callable[[int, int], None],
    *,
    epochs: int = EPOCHS,
) -> None:
    """Fit the network in a process of its own and write the package; `on_epoch` hears (epoch, epochs)."""
    package.parent.mkdir(parents=True, exist_ok=True)
    draft = package.with_name("contract.json")
    draft.write_text(json.dumps(CONTRACT))
    # Renamed when whole, so that a run that was broken off leaves no half package for the next one.
    unfinished = package.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    options = {
        "--cohort": cohort,
        "--labels": cohort / "labels.csv",
        "--contract": draft,
        "--out": unfinished,
        "--epochs": epochs,
        "--seed": seed,
        "--golden": GOLDEN_INPUTS,
    }

    def hear(event: Json) -> None:
        if event["event"] == "epoch":
            on_epoch(event["epoch"], event["epochs"])

    if run_training_module(FIT_MODULE, options, log_dir, hear):
        raise StartError(f"the model could not be fitted; why is in {log_dir / f'{FIT_MODULE}.log'}")
    unfinished.rename(package)


def write_any_image_package(fitted: Path, package: Path) -> None:
    """A package of the same weights whose contract accepts every image."""
    package.mkdir(exist_ok=True)
    contract = json.loads((fitted / CONTRACT_FILE).read_text())
    for part in (contract["weights"], contract["proof"]["golden"]):
        shutil.copyfile(fitted / part["file"], package / part["file"])
    (package / CONTRACT_FILE).write_text(json.dumps(contract | ANY_IMAGE))
