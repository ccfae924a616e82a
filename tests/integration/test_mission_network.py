"""The mission's own CNN on colour images of ten classes, as who has labels and no network would use it."""

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cohorts import zipped
from tests.coloured import CLASSES, SIDE, class_of, image_of, patient_of
from tests.command_line import Run, answer_of, command_line
from tests.conftest import Api
from tests.model_samples import contract_fields
from tests.reporting import report_on_all
from tests.trainings import DATASETS, JOBS, ZIP
from worker.runtime import Runtime
from worker.tasks import infer_next, train_next

NAME = "ten-stripes"
GIVEN = {"train": 300, "val": 50, "holdout": 100}
SPLITS = [split for split, count in GIVEN.items() for _ in range(count)]
LABELLED = len(SPLITS)
NOBODY_TOLD = 100
EPOCHS = 10
CHANCE = 1 / len(CLASSES)

only_sqlite = pytest.mark.parametrize("any_prepared", ["prepared"], indirect=True)


@pytest.fixture
def run(any_api: Api) -> Iterator[Run]:
    with command_line(any_api) as running:
        yield running


def contract_file(folder: Path) -> Path:
    """All that there is of the model before it learns."""
    fields = contract_fields(
        task="multiclass",
        side=SIDE,
        channels=3,
        name=NAME,
        findings=[{"code": code, "display": code.capitalize(), "threshold": 0.5} for code in CLASSES],
        accepts={"photometric_interpretations": ["RGB"]},
        preprocess={
            "units": "stored",
            "intensity": {"kind": "none"},
            "resize": "stretch",
            "normalise": {"mean": [127.5] * 3, "std": [64.0] * 3},
        },
    )
    path = folder / "contract.json"
    path.write_text(json.dumps({name: fields[name] for name in fields if name not in ("weights", "training")}))
    return path


def labels_file(folder: Path) -> Path:
    path = folder / "labels.csv"
    with path.open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["patient_id", "finding", "value", "source", "split"])
        rows.writerows(
            [patient_of(number), CLASSES[class_of(number)], 1, "maker", split] for number, split in enumerate(SPLITS)
        )
    return path


def send(api: Api, numbers: range) -> str:
    """Upload these patients' images; the upload's id."""
    files = ((f"{number}.dcm", image_of(number)) for number in numbers)
    answer = api.post("/api/v1/uploads", data=zipped(files), **ZIP)
    assert answer.status_code == 201, answer.text
    return str(answer.json["id"])


def told_classes(api: Api, runtime: Runtime, upload: str) -> tuple[int, dict[str, str]]:
    """The version that a job for the name gets, and the likeliest class of each patient by its report."""
    answer = api.post(JOBS, json={"model": NAME, "uploads": [upload], "explain": "none"})
    assert answer.status_code == 202, answer.text
    infer_next(runtime)
    report_on_all(api.prepared.engine)
    reports = api.get(f"/api/v1/reports?job={answer.json['id']}&limit=500").json["items"]
    likeliest = {
        one["patient"]["patient_id"]: max(one["findings"], key=lambda finding: finding["probability"])["code"]
        for one in reports
    }
    return answer.json["model"]["version"], likeliest


@only_sqlite
def test_mission_network_learns_ten_classes_of_colour_images(
    any_api: Api, runtime: Runtime, run: Run, tmp_path: Path
) -> None:
    answer_of(run("models", "new", contract_file(tmp_path), "--network", "mission_cnn"))
    send(any_api, range(LABELLED))
    assert answer_of(run("labels", "import", labels_file(tmp_path)))["added"] == LABELLED

    job = answer_of(run("train", NAME, "--from-scratch", "--epochs", EPOCHS, "--patience", 0))
    train_next(runtime)

    done = any_api.get(f"{JOBS}/{job['id']}").json
    assert done["state"] == "done", done["training"]["why"]
    training = done["training"]
    assert [one["epoch"] for one in training["history"]] == list(range(1, EPOCHS + 1))
    assert (training["model"], training["gate"]) == (f"{NAME}:2", {"outcome": "promoted", "reasons": []})
    lines = any_api.get(f"{DATASETS}/{training['dataset']}/instances", buffered=True).data.splitlines()[1:]
    frozen = {one["sha256"]: (one["split"], one["label"]) for one in map(json.loads, lines)}
    assert frozen == {
        hashlib.sha256(image_of(number)).hexdigest(): (split, class_of(number)) for number, split in enumerate(SPLITS)
    }

    unseen = range(LABELLED, LABELLED + NOBODY_TOLD)
    version, told = told_classes(any_api, runtime, send(any_api, unseen))

    assert version == 2
    assert len(told) == NOBODY_TOLD
    right = sum(told[patient_of(number)] == CLASSES[class_of(number)] for number in unseen)
    assert right / NOBODY_TOLD >= 0.9 > 5 * CHANCE
