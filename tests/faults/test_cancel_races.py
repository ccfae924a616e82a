"""A job acknowledged as cancelled never becomes done, whenever the cancel comes and whoever restarts."""

import pytest

from tests.cohorts import films
from tests.faults.conftest import Systems
from tests.faults.injection import assert_nothing_lost
from tests.system import System, eventually


def _cancel(system: System, job_id: str) -> bool:
    """True when the cancel was acknowledged."""
    answer = system.http.post(f"/api/v1/jobs/{job_id}/cancel")
    assert answer.status_code in (202, 409)
    return answer.status_code == 202


def _incomplete_reports(system: System, job_id: str) -> bool:
    reports = system.pages("/api/v1/reports", job=job_id)
    return any(report["completeness"]["share"] < 1.0 for report in reports)


def _assert_stays_cancelled(system: System, job_id: str) -> None:
    job = system.finished(job_id)
    system.kill("worker")
    eventually(lambda: system.pids("worker"), 30.0, "a worker is back")
    after = system.job(job_id)
    assert (job["state"], after["state"]) == ("cancelled", "cancelled")
    assert after["counts"] == job["counts"]
    assert after["counts"]["pending"] == 0


@pytest.mark.slow_fault
def test_queued_shards_never_start_when_their_job_is_cancelled(systems: Systems) -> None:
    with systems(worker_concurrency=1, shard_items=64) as system:
        ahead = system.submit(films("ahead", 60, instances=2))["id"]
        queued = system.submit(films("queued", 20))["id"]

        assert _cancel(system, queued)

        _assert_stays_cancelled(system, queued)
        assert not [move for move in system.history(queued) if move["shard"] and move["after"] == "running"]
        assert system.finished(ahead)["state"] == "done"
        assert_nothing_lost(system, [ahead, queued])


@pytest.mark.slow_fault
def test_running_job_stops_at_its_next_batch_and_its_report_says_incomplete(systems: Systems) -> None:
    with systems(shard_items=64) as system:
        job = system.submit(films("running", 3, instances=60))["id"]
        eventually(lambda: system.job(job)["counts"]["done"] > 0, 60.0, "it runs", interval_s=0.01)

        assert _cancel(system, job)

        _assert_stays_cancelled(system, job)
        counts = system.job(job)["counts"]
        assert counts["done"] > 0
        assert counts["cancelled"] > 0
        eventually(lambda: _incomplete_reports(system, job), 30.0, "a report says that it is incomplete")
        assert_nothing_lost(system, [job])


@pytest.mark.slow_fault
def test_cancel_at_the_finish_is_either_refused_or_final(systems: Systems) -> None:
    sizes = 12 * [1, 3, 6]
    with systems() as system:
        jobs = [system.submit(films(f"finish{at}", 1, instances=size))["id"] for at, size in enumerate(sizes)]

        acknowledged = {}
        for job in jobs:
            eventually(lambda job=job: system.job(job)["state"] != "queued", 30.0, "it starts", interval_s=0.005)
            acknowledged[job] = _cancel(system, job)

        for job, was_cancelled in acknowledged.items():
            assert system.finished(job)["state"] == ("cancelled" if was_cancelled else "done")
        assert_nothing_lost(system, jobs)
