"""Bombs, claims, paths and archives against the running product: a reason each, memory bounded, neighbours unharmed."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.cohorts import film, zipped
from tests.dicom_samples import hostile_files
from tests.model_samples import accept_everything_package, zip_package
from tests.system import System, running_system
from tests.zip_samples import million_entries

MIB = 1024 * 1024
ZIP = {"Content-Type": "application/zip"}
TRAVERSALS = ("../../slipped.dcm", "/tmp/slipped.dcm", "..\\slipped.dcm", "C:\\slipped.dcm")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("package")
    with running_system() as running:
        running.add_model(zip_package(accept_everything_package(folder / "model"), folder / "model.zip"))
        # Warm: children and engine are there, so that growth below is the input's doing.
        running.finished(running.submit(zipped([("warm.dcm", film("WARM", 1, 1))]))["id"])
        yield running


def _api_rss_bytes(system: System) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in system.pids("api"))


def _tree(folder: Path) -> set[Path]:
    return set(folder.iterdir())


def test_hostile_files_have_reasons_and_neighbours_their_predictions(system: System) -> None:
    hostile = hostile_files()
    good = {f"good{number}.dcm": film("GOOD", 1, number) for number in range(3)}
    before = _api_rss_bytes(system)

    job = system.submit(zipped([*list(good.items())[:1], *hostile.items(), *list(good.items())[1:]]))

    job = system.finished(job["id"])
    items = {item["name"]: item for item in system.pages(f"/api/v1/jobs/{job['id']}/items")}
    assert {name for name, item in items.items() if item["state"] == "done"} == set(good)
    assert all(items[name]["reason"] and items[name]["reason_text"] for name in hostile)
    assert job["counts"] == job["counts"] | {"done": 3, "failed": len(hostile), "total": 3 + len(hostile)}
    (report,) = [one for one in system.reports(job["id"], 1) if one["patient"]["patient_id"] == "GOOD"]
    assert report["completeness"]["predicted"] == 3
    assert _api_rss_bytes(system) - before < 200 * MIB


def test_paths_in_archives_stay_inside_and_cost_only_themselves(system: System) -> None:
    around = {folder: _tree(folder) for folder in (system.data_dir.parent, Path("/tmp"))}
    nested = zipped([("inner.dcm", film("INNER", 1, 1))])
    files = [(name, film("SLIP", 1, n)) for n, name in enumerate(TRAVERSALS)]

    job = system.submit(zipped([*files, ("nested.zip", nested), ("kept.dcm", film("KEPT", 1, 1))]))

    job = system.finished(job["id"])
    reasons = [item["reason"] for item in system.pages(f"/api/v1/jobs/{job['id']}/items")]
    assert sorted(reason or "" for reason in reasons) == ["", "nested_archive", *["unsafe_path"] * len(TRAVERSALS)]
    assert not any("slipped" in path.name for folder, seen in around.items() for path in _tree(folder) - seen)


def test_million_entries_are_refused_in_bounded_memory(system: System, tmp_path: Path) -> None:
    archive = tmp_path / "million.zip"
    million_entries(archive, None)
    before = _api_rss_bytes(system)

    with archive.open("rb") as body:
        upload = system.http.post("/api/v1/uploads", content=body, headers=ZIP, timeout=120.0)

    assert upload.status_code == httpx.codes.CREATED
    assert [file["reason"] for file in upload.json()["files"]] == ["too_many_entries"]
    assert _api_rss_bytes(system) - before < 100 * MIB


def test_nothing_is_left_over_when_the_attacks_are_past(system: System) -> None:
    answer = system.http.get("/readyz")

    assert answer.json()["status"] == "ok"
    assert list((system.data_dir / "store" / "tmp").iterdir()) == []
    logs = "".join(path.read_text() for path in (system.data_dir / "logs").glob("*.log"))
    assert not any(word in logs for word in ("GOOD", "SLIP", "KEPT", "Test^", "Traceback"))
