"""The command line and the real API, over HTTP on loopback; no worker runs."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.cli.phantoms import write_cohort
from tests.command_line import Run, answer_of, command_line
from tests.conftest import Api
from tests.model_samples import accept_everything_package


@pytest.fixture
def run(api: Api) -> Iterator[Run]:
    with command_line(api) as running:
        yield running


def test_folder_and_zip_become_a_job_whose_counts_add_up(run: Run, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    truths = write_cohort(cohort, patients=4, seed=1)
    (cohort / "labels.csv").rename(cohort / "notes.txt")
    in_zip = [truth for truth in truths if truth.patient_id == truths[0].patient_id]
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        for truth in in_zip:
            archive.write(cohort / truth.path, truth.path)
    shutil.rmtree(cohort / truths[0].patient_id)
    model = answer_of(run("models", "add", accept_everything_package(tmp_path / "package")))

    first = answer_of(run("submit", cohort, tmp_path / "more.zip", "--label", "first", "--explain", "all"))

    assert first["upload"]["stored"] == len(truths)
    assert [entry["reason"] for entry in first["upload"]["rejected"]] == ["not_dicom"]
    assert first["job"]["counts"]["total"] == len(truths) + 1
    assert first["job"]["counts"]["failed"] == 1
    assert (first["job"]["model"]["name"], first["job"]["explain"]) == (model["name"], "all")

    again = answer_of(run("submit", cohort, tmp_path / "more.zip", "--dry-run"))

    assert (again["upload"]["stored"], again["upload"]["duplicate"]) == (0, len(truths))
    assert again["job"]["counts"]["new"] == len(truths)
    assert [job["label"] for job in answer_of(run("jobs"))["items"]] == ["first"]
    items = answer_of(run("job", first["job"]["id"], "--items"))["items"]
    assert {item["state"] for item in items} == {"pending", "failed"}
    failed = answer_of(run("job", first["job"]["id"], "--state", "failed"))["items"]
    assert [(item["state"], item["reason"]) for item in failed] == [("failed", "not_dicom")]
    assert run("cancel", first["job"]["id"]).exit_code == 0
    assert answer_of(run("watch", first["job"]["id"]), exit_code=5)["state"] == "cancelled"


def test_upload_stores_without_a_job_or_a_model(run: Run, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    truths = write_cohort(cohort, patients=4, seed=1)
    (cohort / "labels.csv").unlink()

    first = answer_of(run("upload", cohort))
    (cohort / "notes.txt").write_text("no DICOM")
    again = answer_of(run("upload", cohort), exit_code=4)

    assert (first["stored"], first["rejected"]) == (len(truths), [])
    assert (again["stored"], again["duplicate"]) == (0, len(truths))
    assert [entry["reason"] for entry in again["rejected"]] == ["not_dicom"]
    assert answer_of(run("jobs"))["items"] == []
    answer_of(run("upload", cohort / "notes.txt"), exit_code=5)


def test_submission_of_which_nothing_can_be_predicted_ends_as_failed(run: Run, tmp_path: Path) -> None:
    answer_of(run("models", "add", accept_everything_package(tmp_path / "package")))
    (tmp_path / "notes.txt").write_text("no DICOM")

    answer = answer_of(run("submit", tmp_path / "notes.txt"), exit_code=5)

    assert answer["job"]["state"] == "failed"


def test_resumed_upload_sends_only_the_rest(run: Run, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    truths = write_cohort(cohort, patients=4, seed=1)
    (cohort / "labels.csv").unlink()
    run("models", "add", accept_everything_package(tmp_path / "package"))
    first_patient = cohort / truths[0].patient_id
    (first_patient / "notes.txt").write_text("no DICOM")
    (first_patient / ".hidden").write_text("left out")
    upload = answer_of(run("submit", first_patient))["upload"]

    rest = answer_of(run("submit", cohort, "--resume", upload["id"]))

    assert rest["upload"]["id"] == upload["id"]
    assert (rest["upload"]["stored"], rest["upload"]["duplicate"]) == (len(truths) - upload["stored"], upload["stored"])
    assert [entry["reason"] for entry in rest["upload"]["rejected"]] == ["not_dicom"]
    assert rest["upload"]["skipped"] == {"hidden": 1}
    assert rest["job"]["counts"]["total"] == len(truths) + 1


def test_token_made_for_reading_cannot_submit(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"alpha")
    run("models", "add", accept_everything_package(tmp_path / "package"))
    reader = answer_of(run("token", "create", "--name", "ward", "--scopes", "read", "--expires-days", "1"))["token"]

    assert answer_of(run("jobs", token=reader)) == {"items": [], "next": None}
    refused = run("submit", tmp_path / "a.dcm", token=reader)

    assert answer_of(refused, exit_code=1)["status"] == 403
    assert answer_of(run("jobs", token="nonsense"), exit_code=1)["status"] == 401


def test_queues_and_workers_are_told_when_there_is_no_worker(run: Run) -> None:
    assert [lane["lane"] for lane in answer_of(run("queues"))["items"]] == [
        "urgent",
        "routine",
        "background",
        "training",
    ]
    assert answer_of(run("workers"))["items"] == []
