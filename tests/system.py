"""The whole product as a user starts it: `overread up` in a folder of the test's own, spoken to over HTTP."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psutil

OVERREAD = Path(sys.executable).parent / "overread"
FINAL = {"done", "partial", "failed", "cancelled"}
# What a supervisor's child is known by in its command line.
SERVICES = {
    "engine": "worker.engines.child",
    "child": "shared.sandbox.child",
    "worker": "worker.serve",
    "api": "api.serve",
    "scheduler": "scheduler.serve",
    "valkey": "valkey-server",
}


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], Any], timeout_s: float, what: str, interval_s: float = 0.1) -> Any:
    """Wait until the condition gives something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(interval_s)
    raise AssertionError(f"after {timeout_s:.0f} s still not: {what}")


class System:
    """A running `overread up`."""

    def __init__(
        self, data_dir: Path, environment: Mapping[str, str], prefix: Sequence[str], **settings: object
    ) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        given = {f"OVERREAD_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment = os.environ | environment | given
        self._prefix = [word.format(data_dir=data_dir) for word in prefix]
        self._log = (data_dir.parent / f"{data_dir.name}.up.log").open("wb")
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60.0)
        self.start()
        self.http.headers["Authorization"] = f"Bearer {(self.files / 'admin-token').read_text().strip()}"

    def start(self) -> None:
        """Start it, also again after it was killed, and wait until the API answers."""
        command = [*self._prefix, str(OVERREAD), "up", "--data-dir", str(self.data_dir), "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, env=self._environment, stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        eventually(self._ready, 60.0, "the API is ready")

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"`overread up` ended: {Path(self._log.name).read_text()}")
        try:
            return self.http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    @property
    def files(self) -> Path:
        """The data folder as this process sees it, also where the system has mounts of its own."""
        return Path(f"/proc/{self.process.pid}/root{self.data_dir}") if self._prefix else self.data_dir

    @property
    def beside(self) -> list[str]:
        """The beginning of a command that should see the same files as the system."""
        enter = ["nsenter", f"--target={self.process.pid}", "--user", "--mount", "--preserve-credentials"]
        return enter if self._prefix else []

    def pids(self, service: str) -> list[int]:
        """The processes of one service."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child.pid for child in children if SERVICES[service] in " ".join(_command(child))]

    def kill(self, service: str) -> None:
        """kill -9 of all its processes."""
        self.signal(service, signal.SIGKILL)

    def signal(self, service: str, number: signal.Signals) -> None:
        """Send a signal to all processes of a service."""
        for pid in self.pids(service):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def add_model(self, package: Path) -> dict[str, Any]:
        """Register a zipped package."""
        answer = self.http.post(
            "/api/v1/models", content=package.read_bytes(), headers={"Content-Type": "application/zip"}
        )
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    def submit(self, body: Path | bytes, key: str | None = None, **query: str) -> dict[str, Any]:
        """A zip as upload and job in one request, under an Idempotency-Key if one is given."""
        content = body.read_bytes() if isinstance(body, Path) else body
        headers = {"Content-Type": "application/zip"} | ({"Idempotency-Key": key} if key else {})
        answer = self.http.post("/api/v1/jobs", params=query, content=content, headers=headers, timeout=300.0)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it stands."""
        return dict(self.http.get(f"/api/v1/jobs/{job_id}").json())

    def finished(self, job_id: str, timeout_s: float = 120.0) -> dict[str, Any]:
        """The job once it is over."""

        def over() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["state"] in FINAL else None

        try:
            return dict(eventually(over, timeout_s, f"job {job_id} is over"))
        except AssertionError as error:
            raise AssertionError(f"{error}; it stands so:\n{self.situation(job_id)}") from None

    def situation(self, job_id: str) -> str:
        """What there is to see of a job that does not move."""
        seen = [self.job(job_id), self.history(job_id)[-20:]]
        seen += [self.http.get(f"/api/v1/{what}").json() for what in ("queues", "workers")]
        logs = [log.read_text()[-3000:] for log in sorted((self.files / "logs").glob("*.log"))]
        return "\n".join([*map(json.dumps, seen), *logs])

    def pages(self, path: str, **query: str | int) -> list[dict[str, Any]]:
        """All items of a list."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {"limit": 500} | query | ({"cursor": cursor} if cursor else {})
            page = self.http.get(path, params=params).json()
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items

    def items(self, job_id: str) -> list[dict[str, Any]]:
        """What became of each thing in the job."""
        return self.pages(f"/api/v1/jobs/{job_id}/items")

    def history(self, job_id: str) -> list[dict[str, Any]]:
        """Every move of the job and its shards."""
        return self.pages(f"/api/v1/jobs/{job_id}/history")

    def reports(self, job_id: str, patients: int, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """The job's reports, once there are as many as patients."""

        def complete() -> list[dict[str, Any]] | None:
            found = self.pages("/api/v1/reports", job=job_id)
            return found if len(found) >= patients else None

        return list(eventually(complete, timeout_s, f"{patients} reports of job {job_id}"))

    def stop(self) -> None:
        """Ctrl-C, and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=60)
        self.http.close()
        self._log.close()


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@contextmanager
def running_system(
    environment: Mapping[str, str] = MappingProxyType({}), prefix: Sequence[str] = (), **settings: object
) -> Iterator[System]:
    """A system in a new folder, removed afterwards; `prefix`: a command that runs it, `{data_dir}` filled in."""
    folder = Path(tempfile.mkdtemp(prefix="ovr-"))
    system = System(folder / "data", environment, prefix, **settings)
    try:
        yield system
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)
