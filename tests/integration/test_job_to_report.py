"""An accepted job -> predictions -> reports, with a real engine, on each kind of database."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEGLossless
from sqlalchemy import select

from shared.db import reading
from shared.models import Prediction
from tests.codestreams import by_hand, coded_bytes, extremes
from tests.cohorts import film, films, zipped
from tests.conftest import Api
from tests.dicom_samples import make_uid
from tests.factories import claim
from tests.model_samples import accept_everything_package, zip_package
from tests.reporting import report_on_all
from worker.inference.run import run_shards
from worker.runtime import Runtime
from worker.tasks import infer_next

ZIP = {"content_type": "application/zip"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("package")
    return zip_package(accept_everything_package(folder / "model"), folder / "model.zip").read_bytes()


def submit(api: Api, files: bytes, **query: str) -> dict[str, Any]:
    answer = api.post("/api/v1/jobs", query_string=query, data=files, **ZIP)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/api/v1/jobs/{answer.json['id']}"
    return dict(answer.json)


def work(runtime: Runtime, times: int = 4) -> None:
    for _ in range(times):
        infer_next(runtime)


def reports(api: Api, job_id: str) -> list[dict[str, Any]]:
    report_on_all(api.prepared.engine)
    return list(api.get(f"/api/v1/reports?job={job_id}&limit=500").json["items"])


def test_job_ends_in_predictions_and_a_report_per_patient(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    assert api.post("/api/v1/models", data=package, **ZIP).status_code == 201

    job = submit(api, films("P", 3, studies=2, instances=2))
    assert job["counts"] == {
        "total": 12,
        "done": 0,
        "failed": 0,
        "skipped": 0,
        "cancelled": 0,
        "pending": 12,
        "reused": 0,
    }
    assert reports(api, job["id"]) == []
    work(runtime)

    job = api.get(f"/api/v1/jobs/{job['id']}").json
    assert (job["state"], job["counts"]["done"], job["progress"]) == ("done", 12, 1.0)
    found = reports(api, job["id"])
    assert [report["number"] for report in found] == [1, 1, 1]
    assert {report["patient"]["patient_id"] for report in found} == {"P0000", "P0001", "P0002"}
    assert all(report["completeness"]["predicted"] == 4 for report in found)
    with reading(api.prepared.engine) as session:
        predictions = session.scalars(select(Prediction)).all()
    assert len(predictions) == 12
    assert {(one.engine, one.precision, one.model_digest) for one in predictions} == {
        ("keras", "float32", job["model"]["digest"])
    }
    assert all(0.0 <= one.probabilities[0] <= 1.0 for one in predictions)


def test_late_study_makes_the_next_report_version(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    first = submit(api, zipped([("a.dcm", film("P1", 1, 1))]))
    work(runtime)
    (before,) = reports(api, first["id"])

    second = submit(api, zipped([("b.dcm", film("P1", 2, 1))]))
    work(runtime)

    (after,) = reports(api, second["id"])
    assert (before["number"], after["number"]) == (1, 2)
    assert after["supersedes"] == before["id"]
    newest = api.get(f"/api/v1/patients/{after['patient']['key']}/report").json
    assert newest["id"] == after["id"]
    assert len(newest["document"]["studies"]) == 2
    assert api.get(f"/api/v1/reports/{before['id']}").json["document"]["studies"] != newest["document"]["studies"]


def test_other_version_of_the_model_makes_the_next_report_version(
    any_api: Api, tmp_path: Path, package: bytes, runtime: Runtime
) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    files = zipped([("a.dcm", film("P1", 1, 1))])
    first = submit(api, files)
    work(runtime)
    (before,) = reports(api, first["id"])
    other = accept_everything_package(tmp_path / "other", slope=2.0)
    api.post("/api/v1/models", data=zip_package(other, tmp_path / "other.zip").read_bytes(), **ZIP)
    api.post(f"/api/v1/models/{before['model']['name']}/versions/2/promote", json={"reason": "to see"})

    second = submit(api, files)
    work(runtime)

    (after,) = reports(api, second["id"])
    assert (after["number"], after["model"]["version"]) == (2, 2)
    assert (after["supersedes"], after["origin"]) == (before["id"], "results")
    told = api.get(f"/api/v1/reports/{after['id']}").json["document"]["changes"]
    assert told["since"] == {"id": before["id"], "number": 1}
    assert told["model_version"] == {"before": 1, "after": 2}
    assert api.get("/api/v1/reports").json["items"][0]["id"] == after["id"]
    assert len(api.get("/api/v1/reports").json["items"]) == 1
    (of_first,) = api.get(f"/api/v1/reports?model={before['model']['name']}:1").json["items"]
    assert of_first["id"] == before["id"]


def test_same_files_again_are_reused_and_make_no_new_report(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    files = films("P", 2)
    first = submit(api, files)
    work(runtime)
    before = reports(api, first["id"])

    again = submit(api, files)

    assert (again["state"], again["counts"]["reused"]) == ("done", 2)
    assert {one["id"] for one in reports(api, again["id"])} == {one["id"] for one in before}


def test_forced_job_predicts_again_and_keeps_the_report(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    upload = api.post("/api/v1/uploads", data=films("P", 2), **ZIP).json
    api.post("/api/v1/jobs", json={"uploads": [upload["id"]]})
    work(runtime)

    forced = api.post("/api/v1/jobs", json={"uploads": [upload["id"]], "force": True}).json
    work(runtime)

    assert forced["counts"]["pending"] == 2
    with reading(api.prepared.engine) as session:
        generations = [one.generation for one in session.scalars(select(Prediction).order_by(Prediction.id))]
    assert generations == [0, 0, 1, 1]
    assert {report["number"] for report in reports(api, forced["id"])} == {1}


def test_bad_files_have_reasons_and_cost_no_neighbour(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    good = film("P1", 1, 1)
    no_pixels = good[: good.rindex(b"\xe0\x7f\x10\x00")]
    files = [("good.dcm", good), ("text.txt", b"hello"), ("empty.dcm", b""), ("header.dcm", no_pixels)]

    job = submit(api, zipped(files))
    work(runtime)

    job = api.get(f"/api/v1/jobs/{job['id']}").json
    items = api.get(f"/api/v1/jobs/{job['id']}/items").json["items"]
    assert (job["state"], job["counts"]["done"], job["counts"]["failed"]) == ("partial", 1, 3)
    assert {item["name"]: item["reason"] for item in items} == {
        "good.dcm": None,
        "text.txt": "not_dicom",
        "empty.dcm": "empty_file",
        "header.dcm": "no_pixel_data",
    }
    assert all(item["reason_text"] for item in items if item["state"] == "failed")
    (report,) = reports(api, job["id"])
    assert report["completeness"] == {"instances": 2, "predicted": 1, "share": 0.5}


def test_file_whose_decoders_disagree_fails_alone(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    pixels = extremes((64, 64), 8, is_signed=False)
    ways: dict[str, dict[str, Any]] = {
        "agreed": {},
        "disagreed": {"wraps": True, "selection": 5},
        "unconfirmed": {"restart_rows": 8},
    }
    files = {
        name: coded_bytes(
            pixels, [by_hand(**how)(pixels, 8)], JPEGLossless, bits_stored=8, SOPInstanceUID=make_uid(name)
        )
        for name, how in ways.items()
    }

    job = submit(api, zipped(files.items()))
    work(runtime)

    assert api.get(f"/api/v1/jobs/{job['id']}").json["state"] == "partial"
    items = api.get(f"/api/v1/jobs/{job['id']}/items").json["items"]
    assert {item["name"]: item["reason"] for item in items} == {
        "agreed": None,
        "disagreed": "decoders_disagree",
        "unconfirmed": "decode_unconfirmed",
    }


def test_report_page_shows_the_report_and_escapes_dicom_text(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    job = submit(api, zipped([("a.dcm", film("<script>alert(1)</script>", 1, 1))]))
    work(runtime)
    (report,) = reports(api, job["id"])

    by_suffix = api.get(f"/api/v1/reports/{report['id']}.html")
    by_accept = api.get(f"/api/v1/reports/{report['id']}", headers={"Accept": "text/html"})

    assert by_suffix.status_code == by_accept.status_code == 200
    assert by_suffix.text == by_accept.text
    assert "preliminary" in by_suffix.text
    assert "<script>" not in by_suffix.text
    assert "&lt;script&gt;" in by_suffix.text


def test_cancelled_job_keeps_what_was_predicted_and_reports_it_incomplete(
    any_api: Api, package: bytes, runtime: Runtime
) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    upload = api.post("/api/v1/uploads", data=films("P", 1, instances=70, side=16), **ZIP).json
    job = api.post("/api/v1/jobs", json={"uploads": [upload["id"]]}).json
    run_shards(runtime, runtime.hold([claim(api.prepared.engine)]))

    assert api.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 202
    work(runtime)

    job = api.get(f"/api/v1/jobs/{job['id']}").json
    assert (job["state"], job["counts"]["done"], job["counts"]["cancelled"]) == ("cancelled", 64, 6)
    (report,) = reports(api, job["id"])
    assert report["completeness"]["share"] == pytest.approx(64 / 70)
    assert api.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 409


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_probabilities_have_the_shape_of_the_task(any_api: Api, runtime: Runtime, tmp_path: Path, task: str) -> None:
    api = any_api
    package = zip_package(accept_everything_package(tmp_path / "model", task=task), tmp_path / "model.zip")
    findings = api.post("/api/v1/models", data=package.read_bytes(), **ZIP).json["findings"]

    job = submit(api, films("P", 1))
    work(runtime)

    (report,) = reports(api, job["id"])
    probabilities = [finding["probability"] for finding in report["findings"]]
    assert len(probabilities) == len(findings)
    if task == "multiclass":
        assert np.sum(probabilities) == pytest.approx(1.0, abs=1e-5)


def test_cancel_of_another_job_takes_nothing_from_a_report(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    upload = api.post("/api/v1/uploads", data=films("P", 1, instances=3), **ZIP).json
    first = api.post("/api/v1/jobs", json={"uploads": [upload["id"]]}).json
    second = api.post("/api/v1/jobs", json={"uploads": [upload["id"]], "priority": "background"}).json

    api.post(f"/api/v1/jobs/{second['id']}/cancel")
    work(runtime)

    (report,) = reports(api, first["id"])
    assert report["completeness"] == {"instances": 3, "predicted": 3, "share": 1.0}
    forced = api.post("/api/v1/jobs", json={"uploads": [upload["id"]], "force": True}).json
    api.post(f"/api/v1/jobs/{forced['id']}/cancel")
    (same,) = reports(api, forced["id"])
    assert same["id"] == report["id"]


def test_retry_of_a_cancelled_forced_job_predicts_again(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    upload = api.post("/api/v1/uploads", data=films("P", 2), **ZIP).json
    api.post("/api/v1/jobs", json={"uploads": [upload["id"]]})
    work(runtime)
    forced = api.post("/api/v1/jobs", json={"uploads": [upload["id"]], "force": True}).json
    api.post(f"/api/v1/jobs/{forced['id']}/cancel")

    retried = api.post(f"/api/v1/jobs/{forced['id']}/retry").json
    work(runtime)

    assert (retried["retry_of"], retried["counts"]["pending"]) == (forced["id"], 2)
    assert api.get(f"/api/v1/jobs/{retried['id']}").json["counts"]["reused"] == 0


@pytest.mark.parametrize("damage", [b"", b"x" * 100], ids=["empty", "other bytes"])
def test_damaged_bytes_are_named_and_healed_by_sending_them_again(
    any_api: Api, package: bytes, runtime: Runtime, damage: bytes
) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    file = zipped([("a.dcm", film("P1", 1, 1))])
    job = submit(api, file)
    (item,) = api.get(f"/api/v1/jobs/{job['id']}/items").json["items"]
    stored = runtime.store.path(item["sha256"])
    stored.write_bytes(damage + stored.read_bytes()[len(damage) :] if damage else b"")

    work(runtime)
    (item,) = api.get(f"/api/v1/jobs/{job['id']}/items").json["items"]
    again = submit(api, file)
    work(runtime)

    assert (item["state"], item["reason"]) == ("failed", "blob_missing")
    assert api.get(f"/api/v1/jobs/{again['id']}").json["state"] == "done"
