"""The slices that a package selects, from the upload to the report, on each kind of database."""

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.db import reading
from shared.models import Instance, Prediction
from shared.oracle.judge import judge
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork
from tests.cohorts import film, zipped
from tests.conftest import Api
from tests.dicom_samples import make_uid
from tests.invariants import check_invariants
from tests.model_samples import accept_everything_package, zip_package
from tests.reporting import report_on_all
from tests.slice_samples import SAGITTAL, ct_slice, enhanced_ct
from worker.runtime import Runtime
from worker.tasks import infer_next

ZIP = {"content_type": "application/zip"}
SECOND = {"kind": "every_nth", "n": 2}
HALF = {"kind": "central_share", "share": 0.5}


@pytest.fixture
def register(any_api: Api, tmp_path: Path) -> Any:
    def registered(rule: dict[str, Any]) -> None:
        package = accept_everything_package(tmp_path / "model", slices={"select": rule})
        zipped_package = zip_package(package, tmp_path / "model.zip").read_bytes()
        assert any_api.post("/api/v1/models", data=zipped_package, **ZIP).status_code == 201

    return registered


def submit(api: Api, files: dict[str, bytes]) -> dict[str, Any]:
    """A job of the files, in an order of no meaning."""
    names = sorted(files)
    random.Random(3).shuffle(names)
    answer = api.post("/api/v1/jobs", data=zipped((name, files[name]) for name in names), **ZIP)
    assert answer.status_code == 202, answer.text
    return dict(answer.json)


def finish(api: Api, runtime: Runtime, job: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The job when it is over, and the report of its one patient."""
    infer_next(runtime)
    report_on_all(api.prepared.engine)
    check_invariants(api.prepared.engine)
    with reading(api.prepared.engine) as session:
        answer = judge(session, ContentStore(api.prepared.settings.store_dir), acknowledged=[], faults=())
    assert answer["findings"] == []
    (summary,) = api.get(f"/api/v1/reports?job={job['id']}").json["items"]
    return api.get(f"/api/v1/jobs/{job['id']}").json, api.get(f"/api/v1/reports/{summary['id']}").json


def items_of(api: Api, job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in api.get(f"/api/v1/jobs/{job['id']}/items?limit=500").json["items"]}


def selected(api: Api, job: dict[str, Any]) -> set[str]:
    return {name for name, item in items_of(api, job).items() if item["state"] != "skipped"}


# 7.5 is missing, 12.5 is there twice.
AXIALS = {"a": 0.0, "b": 2.5, "c": 5.0, "d": 10.0, "e": 12.5, "f": 12.5, "g": 15.0, "h": 17.5}


def test_every_nth_takes_its_slices_and_the_report_names_gap_and_duplicate(
    any_api: Api, runtime: Runtime, register: Any
) -> None:
    register(SECOND)

    job = submit(any_api, {name: ct_slice(name, at) for name, at in AXIALS.items()})
    chosen, left_out = selected(any_api, job), items_of(any_api, job)["b"]
    job, report = finish(any_api, runtime, job)

    assert chosen == {"a", "c", "e", "f", "h"}
    assert (left_out["reason"], left_out["failure"], left_out["frames"]) == ("not_selected", None, 0)
    assert left_out["detail"] == "Slice 2 of 7 by position; the model takes the first of every 2 slices."
    assert (job["state"], job["progress"]) == ("done", 1.0)
    assert job["counts"] == job["counts"] | {"total": 8, "done": 5, "failed": 0, "skipped": 3, "pending": 0}
    assert report["completeness"] == {"instances": 5, "predicted": 5, "share": 1.0}
    assert report["document"]["excluded"] == []
    (series,) = report["document"]["series"]
    (stack,) = series["stacks"]
    assert series["select"] == SECOND
    assert (stack["ordered_by"], stack["slices"], stack["selected"], stack["spacing_mm"]) == ("position", 7, 4, 2.5)
    (gap,), (duplicate,) = stack["gaps"], stack["duplicates"]
    assert (gap["expected_mm"], gap["found_mm"], gap["after"]["number"]) == (2.5, 5.0, 3)
    assert gap["after"]["images"] == [{"sop_instance_uid": make_uid("c"), "frame": 1}]
    assert duplicate["number"] == 5
    assert {image["sop_instance_uid"] for image in duplicate["images"]} == {make_uid("e"), make_uid("f")}
    page = any_api.get(f"/api/v1/reports/{report['id']}.html").text
    assert "gap of 5.00 mm after slice 3" in page
    assert "2 images at slice 5" in page
    places = {one["sop_instance_uid"]: one["slice"] for one in report["document"]["findings"][0]["evidence"]}
    assert all(place["of"] == 7 for place in places.values())
    assert places.get(make_uid("h"), {"number": 7})["number"] == 7


def test_central_share_is_of_each_stack_and_of_what_can_be_predicted_on(
    any_api: Api, runtime: Runtime, register: Any
) -> None:
    register(HALF)
    files = {f"axial {at}": ct_slice(f"axial {at}", at) for at in range(8)}
    files |= {f"localiser {at}": ct_slice(f"localiser {at}", at, orientation=SAGITTAL) for at in range(3)}
    files["no pixels"] = ct_slice("no pixels", -1.0, PixelData=None)

    job = submit(any_api, files)
    chosen = selected(any_api, job) - {"no pixels"}
    _, report = finish(any_api, runtime, job)

    assert chosen == {"axial 2", "axial 3", "axial 4", "axial 5", "localiser 1", "localiser 2"}
    (series,) = report["document"]["series"]
    assert [(stack["slices"], stack["selected"]) for stack in series["stacks"]] == [(8, 4), (3, 2)]
    page = any_api.get(f"/api/v1/reports/{report['id']}.html").text
    assert "4 of 8" in page
    assert "the central 50 %" in page


def test_frames_are_selected_by_position_and_keep_their_numbers(any_api: Api, runtime: Runtime, register: Any) -> None:
    register(SECOND)
    files = {"volume": enhanced_ct("volume", [5.0, 0.0, 20.0, 15.0, 10.0])}

    job = submit(any_api, files)
    job, report = finish(any_api, runtime, job)
    again = submit(any_api, files)

    with reading(any_api.prepared.engine) as session:
        assert set(session.scalars(select(Prediction.frame))) == {2, 3, 5}
    assert (job["state"], items_of(any_api, job)["volume"]["frames"]) == ("done", 3)
    assert (again["state"], again["counts"]["reused"]) == ("done", 1)
    assert report["completeness"] == {"instances": 1, "predicted": 1, "share": 1.0}
    (stack,) = report["document"]["series"][0]["stacks"]
    assert (stack["sop_instance_uid"], stack["spacing_mm"]) == (make_uid("volume"), 5.0)
    assert (stack["slices"], stack["selected"], stack["gaps"], stack["duplicates"]) == (5, 3, [], [])
    (evidence,) = report["document"]["findings"][0]["evidence"]
    assert evidence["slice"] == {"number": {2: 1, 5: 3, 3: 5}[evidence["frame"]], "of": 5}


def test_order_is_that_of_instance_numbers_when_no_plane_is_known(
    any_api: Api, runtime: Runtime, register: Any
) -> None:
    register(SECOND)
    numbers = {"a": 3, "b": 1, "c": 2}
    files = {name: ct_slice(name, 0.0, InstanceNumber=number) for name, number in numbers.items()}
    upload = any_api.post("/api/v1/uploads", data=zipped(files.items()), **ZIP).json
    with UnitOfWork(any_api.prepared.engine) as uow:
        uow.session.execute(update(Instance).values(planes=None))

    job = any_api.post("/api/v1/jobs", json={"uploads": [upload["id"]]}).json
    chosen = selected(any_api, job)
    _, report = finish(any_api, runtime, job)

    assert chosen == {"a", "b"}
    (stack,) = report["document"]["series"][0]["stacks"]
    assert (stack["ordered_by"], stack["slices"], stack["selected"]) == ("number", 3, 2)
    assert (stack["spacing_mm"], stack["num_gaps"], stack["num_duplicates"]) == (None, None, None)
    assert "No positions" in any_api.get(f"/api/v1/reports/{report['id']}.html").text


def test_retry_takes_what_failed_and_selects_no_second_time(any_api: Api, runtime: Runtime, register: Any) -> None:
    register(SECOND)
    files = {name: ct_slice(name, at, PixelData=bytes(10)) for name, at in zip("abcdef", range(6), strict=True)}
    job = submit(any_api, files)
    infer_next(runtime)

    dry = any_api.post("/api/v1/jobs", json={"studies": [make_uid("study")], "dry_run": True}).json["counts"]
    retry = any_api.post(f"/api/v1/jobs/{job['id']}/retry").json

    assert any_api.get(f"/api/v1/jobs/{job['id']}").json["state"] == "failed"
    assert (dry["total"], dry["new"], dry["not_selected"]) == (6, 3, 3)
    assert selected(any_api, retry) == items_of(any_api, retry).keys()
    assert {item["sop_instance_uid"] for item in items_of(any_api, retry).values()} == {
        make_uid(name) for name in "ace"
    }


def test_job_cancelled_before_anything_was_known_makes_no_report(any_api: Api, register: Any) -> None:
    register(SECOND)
    job = submit(any_api, {name: ct_slice(name, at) for name, at in AXIALS.items()})

    any_api.post(f"/api/v1/jobs/{job['id']}/cancel")
    report_on_all(any_api.prepared.engine)

    job = any_api.get(f"/api/v1/jobs/{job['id']}").json
    assert (job["state"], job["counts"]["skipped"], job["counts"]["cancelled"]) == ("cancelled", 3, 5)
    assert any_api.get(f"/api/v1/reports?job={job['id']}").json["items"] == []


def test_films_of_a_package_that_selects_nothing_are_all_predicted(
    any_api: Api, runtime: Runtime, register: Any
) -> None:
    register({"kind": "all"})

    job, report = finish(any_api, runtime, submit(any_api, {str(at): film("P1", 1, at) for at in range(3)}))

    assert (job["counts"]["done"], job["counts"]["skipped"]) == (3, 0)
    assert [one["slice"] for one in report["document"]["findings"][0]["evidence"]] == [None] * 3
