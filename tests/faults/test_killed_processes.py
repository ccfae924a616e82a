"""kill -9 in the middle of a job costs time, never work."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.cohorts import chest_films, films, zip_folder
from tests.model_samples import accept_everything_package, zip_package
from tests.system import System, eventually, running_system

PATIENTS = 60
# Small shards and commits, short leases: the same code, sooner.
QUICK: dict[str, object] = {
    "shard_items": 16,
    "commit_items": 2,
    "worker_concurrency": 2,
    "decode_processes": 1,
    "lease_s": 3,
    "hint_interval_s": 2,
    "retry_backoff_s": 0.2,
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    return zip_package(accept_everything_package(folder / "model"), folder / "model.zip")


def _half_way(system: System, job_id: str) -> dict[str, Any] | None:
    job = system.job(job_id)
    counts = job["counts"]
    return job if 0 < counts["done"] < counts["total"] * 0.7 else None


def _assert_nothing_lost(system: System, job: dict[str, Any], patients: int) -> None:
    assert job["state"] == "done", job
    assert job["counts"]["done"] == job["counts"]["total"]
    reports = system.reports(job["id"], patients)
    assert len({report["patient"]["key"] for report in reports}) == len(reports) == patients
    with sqlite3.connect(system.data_dir / "overread.sqlite") as database:
        predictions, distinct = database.execute(
            "SELECT count(*), count(DISTINCT blob_sha256 || '/' || frame) FROM prediction WHERE blob_sha256 IN"
            " (SELECT blob_sha256 FROM instance JOIN item ON item.instance_id = instance.id WHERE item.job_id = ?)",
            [UUID(job["id"]).hex],
        ).fetchone()
    database.close()
    assert predictions == distinct == job["counts"]["total"]


@pytest.fixture(scope="module")
def system(package: Path) -> Iterator[System]:
    """One for the tests that leave the supervisor alive: it heals, and that is part of the proof."""
    with running_system(**QUICK) as running:
        running.add_model(package)
        yield running


def test_every_report_is_made_when_worker_is_killed_mid_job(system: System, tmp_path: Path) -> None:
    job = system.submit(zip_folder(chest_films(tmp_path, PATIENTS)))
    eventually(lambda: _half_way(system, job["id"]), 60.0, "some batches are committed", interval_s=0.01)

    system.kill("worker")

    job = system.finished(job["id"])
    history = system.history(job["id"])
    _assert_nothing_lost(system, job, PATIENTS)
    lost = {move["shard"] for move in history if move["reason"] == "lease ran out"}
    claims = [move for move in history if move["shard"] in lost and move["after"] == "running"]
    first = {move["shard"]: move["items_open"] for move in claims if move["attempt"] == 1}
    again = {move["shard"]: move["items_open"] for move in claims if move["attempt"] >= 2}
    assert lost
    assert set(again) == lost
    # Attempt 2 found fewer open items than attempt 1: what was committed before the kill was kept.
    assert any(again[shard] < first[shard] for shard in lost)


def test_every_report_is_made_when_valkey_is_killed_and_wiped(system: System) -> None:
    patients = 80
    job = system.submit(films("valkey", patients, instances=2))
    eventually(lambda: _half_way(system, job["id"]), 60.0, "some batches are committed", interval_s=0.01)

    system.kill("valkey")
    shutil.rmtree(system.data_dir / "valkey")

    _assert_nothing_lost(system, system.finished(job["id"]), patients)


def test_job_is_done_when_scheduler_is_killed_mid_job(system: System) -> None:
    patients = 40
    job = system.submit(films("scheduler", patients))

    system.kill("scheduler")

    _assert_nothing_lost(system, system.finished(job["id"]), patients)


def test_results_are_there_when_the_system_is_killed_and_started_again(system: System) -> None:
    patients = 60
    job = system.submit(films("all", patients, instances=2))
    eventually(lambda: _half_way(system, job["id"]), 60.0, "some batches are committed", interval_s=0.01)
    children = [pid for service in ("worker", "api", "scheduler", "valkey") for pid in system.pids(service)]

    system.process.kill()
    system.process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 20.0, "all children ended")
    system.start()

    _assert_nothing_lost(system, system.finished(job["id"]), patients)
