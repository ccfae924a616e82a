"""A cohort with labels, a network of which nothing is known, and training jobs over them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from shared.db import reading
from shared.model_contract import ModelContract
from shared.models import ModelVersion, TrainingRun
from tests.cohorts import film, zipped
from tests.conftest import Api
from tests.model_samples import accept_everything_package, zip_package
from tests.system import eventually
from worker.engines.keras import load_network
from worker.runtime import Runtime
from worker.tasks import train_next
from worker.training.order import TrainingOrder

JOBS, DATASETS, LABELS, MODELS = "/api/v1/jobs", "/api/v1/datasets", "/api/v1/labels", "/api/v1/models"
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
# What trains for long is tried on PostgreSQL with the slow faults; quicker tests show on both databases how a training
# is claimed, fenced and committed.
postgresql_is_slow = pytest.mark.parametrize(
    "any_prepared",
    ["prepared", pytest.param("postgres_prepared", marks=pytest.mark.slow_fault)],
    ids=["sqlite", "postgresql"],
    indirect=True,
)


def register(api: Api, folder: Path, **changes: Any) -> None:
    package = accept_everything_package(folder / "model", preprocess=WINDOW, **changes)
    answer = api.post(MODELS, data=zip_package(package, folder / "model.zip").read_bytes(), **ZIP)
    assert answer.status_code == 201, answer.text


def name(number: int) -> str:
    return f"T{number:04d}"


def level_of(number: int) -> int:
    """How bright a patient's films are: those of every second one show the lesion."""
    return 160 if number % 2 else 90


def store(api: Api, patients: int) -> None:
    files = [(name(at), film(name(at), 1, at, level=level_of(at), side=32)) for at in range(patients)]
    assert api.post("/api/v1/uploads", data=zipped(files), **ZIP).status_code == 201


def label(api: Api, patients: int, *, start: int = 0, **given: Any) -> None:
    rows = [
        {"patient_id": name(at), "finding": "lesion", "value": at % 2, "source": "ward", **given}
        for at in range(start, patients)
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
    return [one for one in psutil.Process().children(recursive=True) if DRIVER in command_of(one)]


def command_of(process: psutil.Process) -> str:
    """Nothing of one that ended meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def weights_of(runtime: Runtime, version: str) -> list[Any]:
    with reading(runtime.engine) as session:
        row = session.scalars(select(ModelVersion).where(ModelVersion.version == int(version.partition(":")[2]))).one()
    contract = ModelContract.model_validate(row.contract)
    return list(load_network(contract, runtime.store.path(row.weights_sha256), batch_size=1).get_weights())


@contextmanager
def at_work(runtime: Runtime) -> Iterator[None]:
    """A worker's thread that trains, until it has nothing more to do."""
    thread = threading.Thread(target=train_next, args=(runtime,))
    thread.start()
    try:
        yield
    finally:
        thread.join(LONG_S)
        assert not thread.is_alive()


def under_way(api: Api, runtime: Runtime, job_id: str) -> None:
    """Wait until it has taken some steps, and kept a checkpoint."""
    eventually(lambda: job(api, job_id)["training"]["step"] > 50 and checkpoint(runtime), LONG_S, "it is so far")


def checkpoint(runtime: Runtime) -> str | None:
    with reading(runtime.engine) as session:
        statement = select(TrainingRun.checkpoint_sha256).where(TrainingRun.checkpoint_sha256.is_not(None))
        return session.scalar(statement)


def order_given() -> TrainingOrder:
    """What the training that begins now was told."""
    (driver,) = eventually(drivers, LONG_S, "a training process begins")
    return TrainingOrder.model_validate_json(Path(driver.cmdline()[-1]).read_bytes())


def give_backs(api: Api, job_id: str) -> list[dict[str, Any]]:
    """The moves by which attempts were over and the run waited for the next one."""
    moves = api.get(f"{JOBS}/{job_id}/history").json["items"]
    return [move for move in moves if (move["before"], move["after"]) == ("running", "queued")]


def noticed_s(api: Api, job_id: str, killed_at: float) -> float:
    """From the kill, a time of this machine's clock, until it was on record that the only attempt so far was over."""
    (move,) = give_backs(api, job_id)
    return datetime.fromisoformat(move["at"]).timestamp() - killed_at
