"""The demo's model packages: the CNN fitted to the phantoms, and the same one accepting any image."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api.cli.child import leashed, open_log
from api.cli.client import Json
from api.cli.errors import StartError
from api.cli.services import base_environment, python_module

EPOCHS = 12
# Made images may leave the house, so the package brings what engines are proved on.
GOLDEN_INPUTS = 48
CONTRACT_FILE = "model.json"
FIT_MODULE = "worker.training.fit"

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
    words = tuple(str(word) for option in options.items() for word in option)
    _run((*python_module(FIT_MODULE), *words), log_dir, on_epoch)
    unfinished.rename(package)


def _run(command: tuple[str, ...], log_dir: Path, on_epoch: Callable[[int, int], None]) -> None:
    log = open_log(log_dir, "fit")
    try:
        process = subprocess.Popen(
            leashed(command), env=base_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
    finally:
        os.close(log)
    with process:
        try:
            for line in process.stdout or ():
                event: dict[str, Any] = json.loads(line)
                if event["event"] == "epoch":
                    on_epoch(event["epoch"], event["epochs"])
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise StartError(f"the model could not be fitted; why is in {log_dir / 'fit.log'}")


def write_any_image_package(fitted: Path, package: Path) -> None:
    """A package of the same weights whose contract accepts every image."""
    package.mkdir(exist_ok=True)
    contract = json.loads((fitted / CONTRACT_FILE).read_text())
    for part in (contract["weights"], contract["proof"]["golden"]):
        shutil.copyfile(fitted / part["file"], package / part["file"])
    (package / CONTRACT_FILE).write_text(json.dumps(contract | ANY_IMAGE))
