"""Nightly retraining on real films, as a user does it: films and labels in, a version trained from scratch, the gate.

`python -m bench.real_films chest-xray-train.zip pneumoniamnist-train-val.npz` takes about twenty minutes on two cores.
The first archive has `cohort.csv` (patient_id, study, image, label) and the films of Kermany et al., Cell
2018 (CC BY 4.0), of which every seed learns normal against pneumonia in an installation of its own; the second is
MedMNIST v2's (CC BY 4.0), with its own split. Neither comes with the project.
"""

import argparse
import csv
import io
import json
import os
import sqlite3
import subprocess
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from bench.harness import report
from bench.servers import scratch_folder
from tests.cohorts import radiograph
from tests.system import OVERREAD, System, running_system

SEEDS = [1, 2, 3]
HOLDOUT_SHARE = 0.22
FINDING = "pneumonia"
# How the sets are learnt: the options of `overread train`, and the sides in pixels.
OPTIONS = ("--epochs", "16", "--patience", "0", "--best-by", "auc", "--val-share", "0.12")
CHEST_SIDE, SMALL_SIDE = 160, 28
NETWORK = "small_resnet"


MEASURES = {
    "AUC": "auc",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "calibration": "calibration_error",
}
CONTRACT: dict[str, Any] = {
    "schema": "overread.model/1",
    "description": "Pneumonia on films of children's chests.",
    "intended_use": "Shows that a model can be trained from nothing. Not for patients.",
    "licence": "CC-BY-4.0",
    "task": "binary",
    "output": "logits",
    "findings": [{"code": FINDING, "display": "Pneumonia", "threshold": 0.5}],
    "accepts": {"modalities": ["CR"], "body_parts": ["CHEST"]},
    "preprocess": {
        "units": "stored",
        "intensity": {"kind": "window", "center": 127.5, "width": 255.0},
        "resize": "stretch",
        "normalise": {"mean": [0.5], "std": [0.25]},
    },
    "aggregation": {level: {"kind": "mean"} for level in ("frames", "instances", "series", "studies")},
    "time_scope": {"kind": "all"},
    # Each of these patients has films of one kind.
    "learning": {"positives": "all"},
}


def main() -> None:
    """Measure, print, and with the usual seeds, write bench/results/real_films.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chest", type=Path)
    parser.add_argument("pneumoniamnist", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    chosen = parser.parse_args()
    runs = []
    with scratch_folder() as folder:
        films = write_films(chest_films(chosen.chest), folder / "chest")
        runs = [chest(folder, films, seed) for seed in chosen.seeds]
        small = write_films(small_films(chosen.pneumoniamnist), folder / "small")
        runs += [pneumoniamnist(folder, small)]
    *of_chest, of_small = runs
    figures = {
        "chest_auc": median(one["AUC"] for one in of_chest),
        "chest_minutes": max(one["minutes"] for one in of_chest),
        "pneumoniamnist_val_auc": of_small["val AUC"],
    }
    columns = ("set", "seed", "gate", *MEASURES, "val AUC", "holdout", "minutes")
    rows = [tuple(_text(one.get(name)) for name in columns) for one in runs]
    report("real_films", columns, rows, figures, keep=chosen.seeds == SEEDS, network=NETWORK, options=OPTIONS)


def chest_films(archive: Path) -> Iterator[tuple[bytes, str, bool, str]]:
    """Of each film the DICOM file, its patient, whether it shows pneumonia, and no split."""
    number: Counter[str] = Counter()
    with zipfile.ZipFile(archive) as opened:
        for row in csv.DictReader(io.TextIOWrapper(opened.open("cohort.csv"), "utf-8")):
            patient = row["patient_id"]
            number[patient] += 1
            pixels = np.asarray(Image.open(io.BytesIO(opened.read(row["image"]))).convert("L"))
            yield radiograph(patient, int(row["study"]), number[patient], pixels), patient, row["label"] != "normal", ""


def small_films(archive: Path) -> Iterator[tuple[bytes, str, bool, str]]:
    """The same of MedMNIST's: a patient each, and the split that it comes with."""
    sets = np.load(archive)
    for split in ("train", "val"):
        for at, (pixels, label) in enumerate(zip(sets[f"{split}_images"], sets[f"{split}_labels"], strict=True)):
            patient = f"{split}-{at:05d}"
            yield radiograph(patient, 1, 1, pixels), patient, bool(label[0]), split


def write_films(films: Iterator[tuple[bytes, str, bool, str]], folder: Path) -> Path:
    """DICOM files and labels.csv, as a user has them."""
    folder.mkdir()
    with (folder.with_suffix(".csv")).open("w", newline="") as table:
        labels = csv.writer(table)
        labels.writerow(("patient_id", "value", "split"))
        for at, (data, patient, is_positive, split) in enumerate(films):
            (folder / f"{at:05d}.dcm").write_bytes(data)
            labels.writerow((patient, int(is_positive), split))
    return folder


def chest(folder: Path, films: Path, seed: int) -> dict[str, Any]:
    """From an empty installation to the champion, and what the gate measured of it on the holdout."""
    with running_system(holdout_share=HOLDOUT_SHARE) as system:
        began = time.monotonic()
        job = learnt(system, folder, films, CHEST_SIDE, (*OPTIONS, "--seed", str(seed)))
        minutes = (time.monotonic() - began) / 60.0
        patients = in_splits(system)
        gate = system.http.get("/api/v1/models/films/versions/2/gate").json()
        (measured,) = gate["measures"]["findings"]
    return {
        "set": "chest films",
        "seed": seed,
        "gate": gate["outcome"],
        **{name: measured["candidate"][measure] for name, measure in MEASURES.items()},
        "val AUC": best_auc(job),
        "holdout": patients["holdout"] / sum(patients.values()),
        "minutes": minutes,
    }


def pneumoniamnist(folder: Path, films: Path) -> dict[str, Any]:
    """With the split that the set has, and so no holdout: what val says of the epoch that was kept."""
    with running_system() as system:
        began = time.monotonic()
        job = learnt(system, folder, films, SMALL_SIDE, (*OPTIONS, "--seed", str(SEEDS[0])))
    return {
        "set": "PneumoniaMNIST",
        "seed": SEEDS[0],
        "val AUC": best_auc(job),
        "minutes": (time.monotonic() - began) / 60.0,
    }


def learnt(system: System, folder: Path, films: Path, side: int, options: tuple[str, ...]) -> dict[str, Any]:
    """Films, a network with new weights, labels, training: each by its command."""
    draft = folder / "model.json"
    shape = {"rows": side, "columns": side, "channels": 1}
    draft.write_text(json.dumps(CONTRACT | {"name": "films", "input": shape}))
    overread(system, "upload", str(films))
    overread(system, "labels", "import", f"{films}.csv", "--finding", FINDING, "--source", "archive")
    overread(system, "models", "new", str(draft), "--network", NETWORK)
    answer = overread(system, "train", "films", "--from-scratch", *options, "--watch")
    job: dict[str, Any] = system.job(answer["id"])
    return job


def overread(system: System, *words: str) -> dict[str, Any]:
    """What the command line answers."""
    token = system.http.headers["Authorization"].removeprefix("Bearer ")
    environment = os.environ | {"OVERREAD_URL": str(system.http.base_url), "OVERREAD_TOKEN": token}
    done = subprocess.run([OVERREAD, *words, "--json"], env=environment, check=True, stdout=subprocess.PIPE)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def best_auc(job: dict[str, Any]) -> float:
    """On val, of the epoch whose weights were kept."""
    kept = min(job["training"]["history"], key=lambda one: one["val_loss"])
    return float(kept["val_auc"])


def in_splits(system: System) -> Counter[str]:
    """How many patients the snapshot has in each split, read from the database, where nobody is in two."""
    with closing(sqlite3.connect(f"file:{system.files / 'overread.sqlite'}?mode=ro", uri=True)) as database:
        query = "SELECT DISTINCT p.patient_id, d.split FROM dataset_patient d JOIN patient p ON p.id = d.patient_id"
        rows = database.execute(query).fetchall()
    assert len({patient for patient, _ in rows}) == len(rows), "a patient is in two splits"
    return Counter(split for _, split in rows)


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
