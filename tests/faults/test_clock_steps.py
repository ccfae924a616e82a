"""Hosts whose clocks are hours wrong: leases go by the database's clock, so nobody steals a living worker's shard."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cohorts import films
from tests.faults.conftest import Systems
from tests.faults.injection import assert_nothing_lost, injecting
from tests.system import System

HOURS = 3600


def _is_wrong_by(system: System, job_id: str, service: str) -> float:
    """Seconds by which what the service dated differs from this clock."""
    dated = system.job(job_id)["finished_at"] if service == "worker" else system.reports(job_id, 1)[0]["created_at"]
    return (datetime.fromisoformat(dated) - datetime.now(UTC)).total_seconds()


@pytest.mark.slow_fault
@pytest.mark.parametrize("service", ["worker", "scheduler"])
@pytest.mark.parametrize("skew_s", [2 * HOURS, -2 * HOURS], ids=["ahead", "behind"])
def test_no_lease_is_stolen_when_a_clock_is_two_hours_wrong(
    systems: Systems, data_dir: Path, service: str, skew_s: int
) -> None:
    skewed = injecting(data_dir / "inject", clock_skew=skew_s, skewed=[f"{service}.serve"])
    with systems(environment=skewed) as system:
        job = system.submit(films("clock", 60, instances=2))["id"]

        assert system.finished(job)["counts"]["done"] == 120
        shard_moves = [move for move in system.history(job) if move["shard"]]
        assert not [move for move in shard_moves if move["reason"] == "lease ran out"]
        assert max(move["attempt"] for move in shard_moves) == 1
        assert_nothing_lost(system, [job])
        assert _is_wrong_by(system, job, service) == pytest.approx(skew_s, abs=600)
