"""`overread chaos` as a hospital runs it: the whole product, broken on purpose, and nothing lost."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cohorts import films
from tests.faults.injection import mount_namespace
from tests.system import OVERREAD, running_system

TIMEOUT_S = 900.0


def run_chaos(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, everything in a folder of the test's own; what the environment names must not be touched."""
    command = [str(OVERREAD), "chaos", "--scratch", str(folder), *options]
    misleading = {
        "OVERREAD_DATABASE_URL": "postgresql://nobody@localhost:1/not-ours",
        "OVERREAD_STORE_URL": "/dev/null",
    }
    environment = os.environ | misleading
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def verdict(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON that it printed, with what it says of itself."""
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert (answer["lost"], answer["doubled"], answer["old_fence"], answer["wrong"]) == (0, 0, 0, 0)
    assert answer["submitted"] == sum(answer["jobs"].values())
    assert sum(answer["shards"].values()) > 0
    return answer


def test_nothing_is_lost_when_sqlite_system_is_broken_for_half_a_minute(tmp_path: Path) -> None:
    done = run_chaos(tmp_path, "--seed", "5", "--minutes", "0.5")

    assert done.returncode == 0, done.stdout + done.stderr
    table = {line[:44].strip(): line[44:].strip() for line in done.stdout.splitlines()}
    assert (table["lost"], table["doubled"], table["written under an old fence"]) == ("0", "0", "0")
    assert int(table["jobs submitted"]) > 0
    assert "--seed 5 --minutes 0.5" in done.stdout
    assert "Nothing was lost, nothing was doubled." in done.stdout
    assert bool(mount_namespace()) != ("not had: disk full" in done.stdout)
    # All was well, so nothing is left.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow_fault
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_is_lost_when_two_hosts_are_broken_for_minutes(tmp_path: Path, database: str) -> None:
    # PostgreSQL runs as another user under root, who must be able to get to its folder.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)
    options = ("--database", database, "--workers", "2", "--schedulers", "2", "--json")

    answer = verdict(run_chaos(tmp_path, "--seed", "11", "--minutes", "3", *options))

    kinds = {row["kind"] for row in answer["recovery"]}
    assert {"API killed", "worker killed", "scheduler killed", "Valkey killed"} <= kinds
    assert ("PostgreSQL killed" in kinds) == (database == "postgresql")
    has_disk = bool(mount_namespace(by_root_only=database == "postgresql"))
    assert ("disk full" in kinds) == has_disk == ("disk full" not in answer["not_had"])


def test_verify_says_by_its_exit_code_whether_all_is_well(package: Path) -> None:
    with running_system() as system:
        system.add_model(package)
        command = [str(OVERREAD), "verify", "--data-dir", str(system.data_dir)]
        well = subprocess.run(command, capture_output=True, text=True, check=False)
        (system.data_dir / "store" / "tmp" / "in-old").touch()
        os.utime(system.data_dir / "store" / "tmp" / "in-old", (0, 0))

        unwell = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
        system.http.post("/api/v1/queues/routine/pause", json={"reason": "so that the job stays open"})
        system.submit(films("open", 1))
        not_over = subprocess.run(command, capture_output=True, text=True, check=False)

    assert well.returncode == 0, well.stdout + well.stderr
    assert unwell.returncode == not_over.returncode == 1
    assert "Jobs that are still open count as lost, here 1" in not_over.stdout
    (finding,) = json.loads(unwell.stdout)["findings"]
    assert (finding["what"], finding["examples"]) == ("a temporary file outlived its request", ["in-old"])
