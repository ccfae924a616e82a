"""`overread demo` as `make demo` runs it, smaller; twice, as a user would."""

import json
import subprocess
from pathlib import Path

import psutil

from tests.system import OVERREAD


def _demo(data_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [str(OVERREAD), "demo", "--data-dir", str(data_dir), "--patients", "20", "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_demo_shows_reports_and_works_again(data_dir: Path) -> None:
    demo = data_dir / "demo"

    first, second = _demo(demo), _demo(demo)

    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    told, again = json.loads(first.stdout), json.loads(second.stdout)
    assert told["job"]["state"] == "done"
    assert {patient["truth"] for patient in told["patients"]} == {True, False}
    assert all(0 <= patient["probability"] <= 1 for patient in told["patients"])
    assert [patient["report"] for patient in told["patients"]] == [patient["report"] for patient in again["patients"]]
    assert told["measures"]["auc"] is not None
    assert again["job"]["counts"]["reused"] == again["job"]["counts"]["total"]
    real = told["real_job"]["counts"]
    assert real["done"] > 40
    assert real["done"] + real["failed"] == real["total"] == len(told["files"])
    reports = Path(told["reports"])
    assert len(list(reports.rglob("*.html"))) > len(told["patients"])
    assert len(list(reports.rglob("*.json"))) >= len(told["patients"])
    assert not [one for one in psutil.process_iter() if str(demo) in " ".join(_command(one))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
