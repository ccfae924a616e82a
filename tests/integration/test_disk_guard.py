"""Uploads are refused before the disk is full, and taken again as soon as there is room."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select

from api.intake import store as intake
from api.services import EXTENSION
from shared import storage
from shared.db import reading
from shared.models import Instance
from tests.cohorts import film, films
from tests.conftest import Api
from tests.model_samples import accept_everything_package, zip_package


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class Disk:
    """Says how much is free, instead of the real disk."""

    def __init__(self, free_bytes: Callable[[], int]) -> None:
        self.free_bytes = free_bytes

    def usage(self, _: Path) -> Usage:
        return Usage(2**50, 0, self.free_bytes())


@pytest.fixture
def disk(api: Api, monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(lambda: api.prepared.settings.min_free_bytes - 1)
    monkeypatch.setattr(storage.shutil, "disk_usage", disk.usage)
    return disk


def stored_files(api: Api) -> list[Path]:
    root = api.app.extensions[EXTENSION].store.root
    return [path for path in root.rglob("*") if path.is_file()]


def instances(api: Api) -> int:
    with reading(api.prepared.engine) as session:
        return session.scalar(select(func.count()).select_from(Instance)) or 0


def is_full(answer: Any) -> bool:
    assert answer.status_code == 507, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    return True


@pytest.mark.parametrize("path", ["/api/v1/uploads", "/api/v1/jobs", "/api/v1/models"])
def test_no_byte_is_written_while_the_disk_is_nearly_full(
    api: Api, disk: Disk, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    written: list[object] = []
    monkeypatch.setattr(storage.Spool, "write", lambda _, data: written.append(data))

    answer = api.post(path, data=b"PK\x03\x04" + bytes(1000), content_type="application/zip")

    assert is_full(answer)
    assert written == []
    assert stored_files(api) == []
    assert api.get("/readyz").status_code == 503
    least = api.prepared.settings.min_free_bytes
    told = {"free_bytes": least - 1, "total_bytes": 2**50, "min_free_bytes": least}
    assert api.get("/api/v1/disk").json == told


@pytest.mark.parametrize("path", ["/api/v1/uploads", "/api/v1/jobs"])
def test_files_are_taken_again_when_there_is_room(api: Api, disk: Disk, tmp_path: Path, path: str) -> None:
    package = zip_package(accept_everything_package(tmp_path / "package"), tmp_path / "package.zip").read_bytes()

    def send() -> list[Any]:
        return [
            api.post("/api/v1/models", data=package, content_type="application/zip"),
            api.post(path, data=film("PAT-1", 1, 1), content_type="application/dicom"),
        ]

    refused = send()
    disk.free_bytes = lambda: api.prepared.settings.min_free_bytes
    taken = send()

    assert all(is_full(answer) for answer in refused)
    assert [answer.status_code for answer in taken] == [201, 202 if path.endswith("jobs") else 201]


def test_batches_before_the_disk_filled_stay_stored(api: Api, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BATCH_FILES", 2)
    enough = api.prepared.settings.min_free_bytes
    disk.free_bytes = lambda: 0 if instances(api) else enough
    body = films("PAT", 5)

    refused = api.post("/api/v1/uploads", data=body, content_type="application/zip")
    before = instances(api)
    disk.free_bytes = lambda: enough
    taken = api.post("/api/v1/uploads", data=body, content_type="application/zip")

    assert is_full(refused)
    assert before == 2
    assert taken.json["counts"] == {"stored": 3, "duplicate": 2, "rejected": 0}
    assert len(stored_files(api)) == 5


def test_nothing_is_stored_when_the_disk_fills_while_files_arrive(api: Api, disk: Disk) -> None:
    enough = api.prepared.settings.min_free_bytes
    disk.free_bytes = lambda: enough - sum(path.stat().st_size for path in stored_files(api))

    refused = api.post("/api/v1/uploads", data=film("PAT-1", 1, 1), content_type="application/dicom")

    assert is_full(refused)
    assert instances(api) == 0
    assert stored_files(api) == []
