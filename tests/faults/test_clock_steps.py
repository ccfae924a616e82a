"""Hosts whose clocks are hours wrong: leases go by the database's clock, so nobody steals a living worker's shard."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cohorts import films
from tests.faults.conftest import Systems
from tests.faults.injection import assert_nothing_lost, injecting

HOURS = 3600


def _is_wrong_by(folder: Path, service: str) -> float:
    """Seconds by which the service's clock, as it noted it in a file, differs from the file's own."""
    noted = folder / f"{service}.clock"
    return float(noted.read_text()) - noted.stat().st_mtime


def _seconds_ago(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def _moves_in_order(moves: list[dict[str, Any]]) -> bool:
    """Whether the times of the moves, which several hosts made, are in the order of the moves."""
    times = [datetime.fromisoformat(move["at"]) for move in moves]
    return times == sorted(times)


@pytest.mark.slow_fault
@pytest.mark.parametrize("worker_s", [2 * HOURS, -2 * HOURS], ids=["worker ahead", "worker behind"])
def test_no_lease_is_stolen_when_clocks_are_two_hours_wrong(systems: Systems, data_dir: Path, worker_s: int) -> None:
    skews = {"worker": worker_s, "scheduler": -worker_s}
    with systems(environment=injecting(data_dir / "inject", clock_skew=skews)) as system:
        job = system.submit(films("clock", 60, instances=2))["id"]

        assert system.finished(job)["counts"]["done"] == 120
        shard_moves = [move for move in system.history(job) if move["shard"]]
        assert not [move for move in shard_moves if move["reason"] == "lease ran out"]
        assert max(move["attempt"] for move in shard_moves) == 1
        assert_nothing_lost(system, [job])
        wrong = {service: _is_wrong_by(data_dir / "inject", service) for service in skews}
        assert wrong == pytest.approx(skews, abs=600)
        assert _moves_in_order(system.history(job))
        assert abs(_seconds_ago(system.job(job)["finished_at"])) < 600
