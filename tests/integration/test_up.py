"""`overread up` as a user starts it: every service real."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

COMMAND = [sys.executable, "-c", "from api.cli.main import main; main()", "up", "--port", "0", "--json", "--data-dir"]
SERVICES = {"valkey-server", "api.serve", "worker.serve", "scheduler.serve"}
START_S = 90.0
END_S = 30.0


@contextmanager
def up(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The process, and what it announced when all was ready."""
    with subprocess.Popen([*COMMAND, str(data_dir)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "}\n")
            yield process, json.loads("".join(lines) + "}")
        finally:
            process.kill()


def services_of(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    children = psutil.Process(process.pid).children()
    words = {child.pid: " ".join(child.cmdline()) for child in children}
    return {name: child for name in SERVICES for child in children if name in words[child.pid]}


def assert_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=END_S)
    assert not alive


def test_up_ends_in_order_and_keeps_its_data_for_the_next_time(data_dir: Path) -> None:
    with up(data_dir) as (process, announced):
        tree = psutil.Process(process.pid).children(recursive=True)
        assert set(services_of(process)) == SERVICES
        assert httpx.get(f"{announced['url']}/readyz").status_code == 200
        assert (data_dir / "admin-token").read_text().strip() == announced["token"]
        assert not any(announced["token"] in log.read_text() for log in (data_dir / "logs").iterdir())

        second = subprocess.run([*COMMAND, str(data_dir)], capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert f"in use by another copy of Overread, process {process.pid};" in second.stderr

        process.send_signal(signal.SIGTERM)
        assert process.wait(END_S) == 0
        assert_all_end(tree)

    with up(data_dir) as (process, again):
        assert again["token"] is None
        answer = httpx.get(f"{again['url']}/api/v1/jobs", headers={"Authorization": f"Bearer {announced['token']}"})
        assert answer.status_code == 200


def test_everything_ends_when_up_is_killed(data_dir: Path) -> None:
    with up(data_dir) as (process, _):
        # the worker has started its own threads and children by now, or soon
        time.sleep(1.0)
        tree = psutil.Process(process.pid).children(recursive=True)
        assert len(tree) > len(SERVICES)

        process.kill()

        assert_all_end(tree)
