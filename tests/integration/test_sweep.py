"""Blobs without a row go, and never from under an upload that is about to make one."""

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.intake import model as model_intake
from api.intake import store as intake
from api.services import EXTENSION, Services
from scheduler import sweep as duty
from scheduler.sweep import FOLDERS_AT_ONCE, folders_of_turn, remove_orphans
from shared.db import reading
from shared.models import Blob
from shared.storage import FOLDERS
from tests.cohorts import film
from tests.conftest import Api
from tests.model_samples import accept_everything_package, zip_package

FILM = film("PAT-1", 1, 1)


def services_of(api: Api) -> Services:
    services: Services = api.app.extensions[EXTENSION]
    return services


def age(api: Api, digest: str, seconds: float = 7200) -> None:
    then = time.time() - seconds
    os.utime(services_of(api).store.path(digest), (then, then))


def remove_all_orphans(api: Api) -> int:
    return remove_orphans(services_of(api).engine, services_of(api).store, FOLDERS)


def rows(api: Api) -> set[str]:
    with reading(services_of(api).engine) as session:
        return set(session.scalars(select(Blob.sha256)))


def bytes_of_rows_are_there(api: Api) -> bool:
    return all(services_of(api).store.is_whole(digest) for digest in rows(api))


def send(api: Api) -> Any:
    return api.post("/api/v1/uploads", data=io.BytesIO(FILM), content_type="application/dicom")


def blobs(api: Api) -> list[Path]:
    return [path for path in (services_of(api).store.root / "blobs").rglob("*") if path.is_file()]


def before_index(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something when an upload's bytes are stored and the transaction that makes their rows is yet to begin."""
    index = intake._index

    def act_first(*given: Any) -> Any:
        act()
        return index(*given)

    monkeypatch.setattr(intake, "_index", act_first)


def test_orphan_is_removed_once_it_is_old(any_api: Api) -> None:
    store = services_of(any_api).store
    old, young = store.put(b"old").sha256, store.put(b"young").sha256
    age(any_api, old)

    removed = remove_all_orphans(any_api)

    assert removed == 1
    assert not store.exists(old)
    assert store.exists(young)


def test_blob_with_a_row_stays_however_old_it_is(any_api: Api) -> None:
    digest = send(any_api).json["files"][0]["sha256"]
    age(any_api, digest, seconds=1e8)

    assert remove_all_orphans(any_api) == 0
    assert rows(any_api) == {digest}
    assert bytes_of_rows_are_there(any_api)


def test_damaged_bytes_that_were_set_aside_stay(api: Api) -> None:
    store = services_of(api).store
    digest = store.put(b"damaged").sha256
    age(api, digest)
    store.set_aside(digest)

    assert remove_all_orphans(api) == 0
    assert (store.root / "damaged" / digest).exists()


def test_every_folder_gets_its_turn() -> None:
    first = 3_000_000
    turns = [folders_of_turn(turn) for turn in range(first, first + len(FOLDERS) // FOLDERS_AT_ONCE)]

    assert sorted(folder for folders in turns for folder in folders) == list(FOLDERS)
    assert folders_of_turn(first + len(turns)) == turns[0]


def test_duty_removes_orphans_in_the_folders_whose_turn_it_is(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    services = services_of(api)
    now, later = services.store.put(b"now").sha256, services.store.put(b"later").sha256
    for digest in (now, later):
        age(api, digest)
    monkeypatch.setattr(duty, "folders_of_turn", lambda _: [now[:2]])

    assert duty.sweep(services.engine, services.store) == 1
    assert [path.name for path in blobs(api)] == [later]


def test_orphan_that_comes_again_is_kept_when_the_sweep_runs_before_its_row(
    any_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = services_of(any_api).store.put(FILM).sha256
    age(any_api, orphan)
    removed: list[int] = []
    before_index(monkeypatch, lambda: removed.append(remove_all_orphans(any_api)))

    answer = send(any_api)

    assert answer.status_code == 201
    assert removed == [0], "the upload that found the bytes made them young"
    assert rows(any_api) == {orphan}
    assert bytes_of_rows_are_there(any_api)


def test_upload_is_sent_again_when_its_bytes_were_swept_before_their_row(
    any_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock leapt, or the batch was stopped for hours: the bytes are old by the time their row is due."""

    def grow_old() -> None:
        [digest] = [path.name for path in blobs(any_api)]
        age(any_api, digest)
        assert remove_all_orphans(any_api) == 1

    with monkeypatch.context() as patch:
        before_index(patch, grow_old)
        refused = send(any_api)

    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert rows(any_api) == set()
    assert send(any_api).status_code == 201
    assert bytes_of_rows_are_there(any_api)


def test_sweep_leaves_what_got_its_row_while_it_looked(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = services_of(any_api).store.put(FILM).sha256
    age(any_api, orphan)
    lock = duty.lock_index

    def send_first(session: Session) -> None:
        assert send(any_api).status_code == 201
        age(any_api, orphan)
        lock(session)

    monkeypatch.setattr(duty, "lock_index", send_first)

    assert remove_all_orphans(any_api) == 0
    assert bytes_of_rows_are_there(any_api)


def test_model_is_sent_again_when_its_bytes_were_swept_before_their_row(
    any_api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = zip_package(accept_everything_package(tmp_path / "package"), tmp_path / "package.zip").read_bytes()
    register = model_intake._register

    def sweep_first(*given: Any) -> Any:
        for path in blobs(any_api):
            age(any_api, path.name)
        assert remove_all_orphans(any_api) == 2
        return register(*given)

    with monkeypatch.context() as patch:
        patch.setattr(model_intake, "_register", sweep_first)
        refused = any_api.post("/api/v1/models", data=package, content_type="application/zip")

    assert refused.status_code == 503
    assert rows(any_api) == set()
    assert any_api.post("/api/v1/models", data=package, content_type="application/zip").status_code == 201
    assert len(rows(any_api)) == 2
    assert bytes_of_rows_are_there(any_api)
