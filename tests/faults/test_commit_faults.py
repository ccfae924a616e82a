"""The instant around the commit: it went through but the caller heard an error; the API died before or after it."""

from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.cohorts import films
from tests.faults.conftest import Systems
from tests.faults.injection import assert_nothing_lost, has_struck, injecting
from tests.system import System, eventually


def _submitted(system: System, body: bytes, key: str) -> str:
    """The job's id, from a client that asks again under the same key until it is told."""
    headers = {"Content-Type": "application/zip", "Idempotency-Key": key}

    def told() -> str | None:
        try:
            answer = system.http.post("/api/v1/jobs", content=body, headers=headers)
        except httpx.TransportError:
            return None
        assert answer.status_code in (202, 409, 503), answer.text
        assert answer.status_code != 503 or answer.headers["Retry-After"]
        return str(answer.json()["id"]) if answer.status_code == 202 else None

    return str(eventually(told, 90.0, "the submission is acknowledged", interval_s=0.3))


@pytest.mark.slow_fault
def test_nothing_is_doubled_when_commits_go_through_but_say_they_failed(systems: Systems) -> None:
    keys = [str(uuid4()) for _ in range(10)]
    with systems(fault_commit_error_rate=0.05) as system:
        bodies = [films(f"commit{number}", 6) for number in range(len(keys))]
        jobs = [_submitted(system, body, key) for body, key in zip(bodies, keys, strict=True)]

        again = [_submitted(system, body, key) for body, key in zip(bodies, keys, strict=True)]

        assert again == jobs
        assert len(set(jobs)) == len(jobs)
        assert {system.finished(job)["state"] for job in jobs} == {"done"}
        logs = [(system.data_dir / "logs" / f"{service}.log").read_text() for service in ("api", "worker")]
        assert all("fault_struck" in log for log in logs)
        listed = system.pages("/api/v1/jobs")
        assert_nothing_lost(system, [job["id"] for job in listed])


@pytest.mark.slow_fault
def test_job_runs_when_the_api_dies_between_commit_and_hint(systems: Systems, data_dir: Path) -> None:
    key = str(uuid4())
    with systems(environment=injecting(data_dir / "inject", dies_before_hint=True)) as system:
        job = _submitted(system, films("hint", 4), key)

        assert has_struck(data_dir / "inject", "dies_before_hint")
        assert system.finished(job)["state"] == "done"
        (only,) = system.pages("/api/v1/jobs")
        assert only["id"] == job
        assert_nothing_lost(system, [job])


def test_no_job_and_no_row_when_the_api_dies_between_rename_and_commit(systems: Systems, data_dir: Path) -> None:
    with systems(environment=injecting(data_dir / "inject", dies_before_commit=True)) as system:
        try:
            answer = system.http.post(
                "/api/v1/jobs", content=films("rename", 4), headers={"Content-Type": "application/zip"}
            )
            assert answer.status_code != 202
        except httpx.TransportError:
            pass
        eventually(lambda: _answers(system), 30.0, "the API is back")
        nothing = system.pages("/api/v1/jobs")
        orphans = len(list((system.data_dir / "store" / "blobs").glob("*/*")))

        # The same bytes again: what was renamed is used, and from now on has its row.
        job = system.submit(films("rename", 4))["id"]

        assert has_struck(data_dir / "inject", "dies_before_commit")
        assert nothing == []
        assert orphans > 0
        assert system.finished(job)["counts"]["done"] == 4
        assert_nothing_lost(system, [job])


def _answers(system: System) -> bool:
    try:
        return system.http.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
