"""A cohort with labels, a network of which nothing is known, and training jobs over them."""

from pathlib import Path
from typing import Any

import psutil

from tests.cohorts import film, zipped
from tests.conftest import Api
from tests.model_samples import accept_everything_package, zip_package
from worker.runtime import Runtime
from worker.tasks import train_next

JOBS, DATASETS, LABELS = "/api/v1/jobs", "/api/v1/datasets", "/api/v1/labels"
ZIP = {"content_type": "application/zip"}
WINDOW = {
    "units": "modality",
    "intensity": {"kind": "window", "center": 128.0, "width": 256.0},
    "resize": "stretch",
    "normalise": None,
}
DRIVER = "worker.training.driver"
PATIENTS = 40
QUICK = {"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "start": "scratch", "augment": {"shift": 0.0}}
LONG = QUICK | {"epochs": 400, "batch_size": 4, "patience_epochs": 0, "learning_rate": 0.001}
LONG_S = 120.0


def register(api: Api, folder: Path) -> None:
    package = accept_everything_package(folder / "model", preprocess=WINDOW)
    answer = api.post("/api/v1/models", data=zip_package(package, folder / "model.zip").read_bytes(), **ZIP)
    assert answer.status_code == 201, answer.text


def name(number: int) -> str:
    return f"T{number:04d}"


def store(api: Api, patients: int) -> None:
    files = [(name(at), film(name(at), 1, at, level=160 if at % 2 else 90, side=32)) for at in range(patients)]
    assert api.post("/api/v1/uploads", data=zipped(files), **ZIP).status_code == 201


def label(api: Api, patients: int, **given: Any) -> None:
    rows = [
        {"patient_id": name(at), "finding": "lesion", "value": at % 2, "source": "ward", **given}
        for at in range(patients)
    ]
    assert api.post(LABELS, json={"labels": rows}).json["refused"] == 0


def submit(api: Api, options: dict[str, Any], **given: Any) -> str:
    answer = api.post(JOBS, json={"kind": "training", "model": "sample-binary", "options": options, **given})
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def job(api: Api, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"{JOBS}/{job_id}").json
    return found


def train(api: Api, runtime: Runtime, options: dict[str, Any]) -> dict[str, Any]:
    job_id = submit(api, options)
    train_next(runtime)
    return job(api, job_id)


def drivers() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if DRIVER in " ".join(one.cmdline())]
