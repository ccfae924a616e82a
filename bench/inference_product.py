"""The product as a user starts it: model registered and proved, then studies, jobs and reports, timed by its clock."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from api.cli.client import Client
from api.cli.collect import collect
from api.cli.transfer import Transfer
from api.cli.upload import create_upload
from bench.inference_models import Model
from bench.inference_work import Cohort
from tests.model_samples import zip_package
from tests.system import FINAL, SERVICES, eventually, running_system

PROOF_S = 900.0
JOB_S = 1800.0
LANE = "/api/v1/queues/routine"
CLIENTS = 4
# What keeps the rows: claims, outcomes, reports.
ROW_KEEPERS = ("worker", "scheduler")


@dataclass(frozen=True)
class Reading:
    """How the product's answers to a cohort agree with the reference's."""

    repeated: float
    distance: float
    differ: int


@dataclass(frozen=True)
class Run:
    """Seconds from acceptance to the last report, and the processor time of those who keep the rows."""

    seconds: float
    rows_cpu_s: float


class Product:
    """A running system with one model, whose engines are proved."""

    def __init__(self, model: Model) -> None:
        self._running = running_system()
        self._model = model
        self.serving: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._system = self._running.__enter__()
        package = zip_package(self._model.folder, self._model.folder.with_suffix(".zip"))
        shown = self._system.add_model(package)
        path = f"/api/v1/models/{shown['name']}/versions/{shown['version']}/engines"

        def proof() -> dict[str, Any] | None:
            items = self._system.http.get(path).json()["items"]
            return items[0] if items and items[0]["state"] in ("done", "failed") else None

        found = eventually(proof, PROOF_S, "the engines are proved", 0.5)
        (self.serving,) = [row for row in found["engines"] if row["serves"]]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)

    def upload(self, cohort: Cohort) -> str:
        """Store the studies, sent as `overread submit` sends a folder."""
        files = collect([cohort.folder]).files
        token = self._system.http.headers["Authorization"].removeprefix("Bearer ")
        with Client(str(self._system.http.base_url), token) as client:
            upload = create_upload(client, "")
            sent = Transfer(client, upload, lambda _: None).run(files)
        assert sent.stored == len(cohort.paths), f"{sent.stored} of {len(cohort.paths)} instances were stored"
        return upload

    def run(self, cohort: Cohort) -> Run:
        """One job over studies that are stored already: from its acceptance to the last of its reports."""
        upload = self.upload(cohort)
        keepers = _processes(ROW_KEEPERS)
        before = _cpu_s(keepers)
        job = self._submit({"uploads": [upload]})
        last = self._last_report()
        return Run((last - datetime.fromisoformat(job["created_at"])).total_seconds(), _cpu_s(keepers) - before)

    def post_to_report(self, cohort: Cohort) -> float:
        """Seconds from the first byte of the upload to the last report."""
        began = datetime.now(UTC)
        self._submit({"uploads": [self.upload(cohort)]})
        return (self._last_report() - began).total_seconds()

    def queued(self, cohort: Cohort, *, one_job: bool) -> float:
        """Seconds from the lane's release to the last report, of one job or of a job for each study."""
        self.upload(cohort)
        requests = [cohort.studies] if one_job else [[study] for study in cohort.studies]
        self._system.http.post(f"{LANE}/pause", json={"reason": "benchmark"}).raise_for_status()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda studies: self._submit({"studies": studies}), requests))
        began = datetime.now(UTC)
        self._system.http.post(f"{LANE}/resume", json={}).raise_for_status()
        return (self._last_report() - began).total_seconds()

    def run_watched(self, uploads: list[str]) -> list[int]:
        """One job over several uploads: the resident bytes of the worker and its children, once a second."""
        job = self._submit({"uploads": uploads})
        resident = []
        while self._system.job(job["id"])["state"] not in FINAL:
            resident.append(sum(_resident_bytes(process) for process in _processes(("worker", "engine", "child"))))
            time.sleep(1.0)
        return resident

    def compare(self, cohort: Cohort, answers: NDArray[Any]) -> Reading:
        """Every stored probability against the script's, which are the reference's."""
        threshold = self._model.contract.findings[0].threshold
        digests = {hashlib.sha256(path.read_bytes()).hexdigest(): at for at, path in enumerate(cohort.paths)}
        with self._database() as database:
            rows = database.execute("SELECT blob_sha256, probabilities, engine FROM prediction").fetchall()
        found = {digests[digest]: (json.loads(text)[0], engine) for digest, text, engine in rows if digest in digests}
        assert len(found) == len(cohort.paths), f"{len(found)} predictions of {len(cohort.paths)} instances"
        given = np.array([found[at][0] for at in range(len(found))])
        wanted = answers[:, 0]
        repeated = sum(engine != self.serving["engine"] for _, engine in found.values()) / len(found)
        differ = int(((given >= threshold) != (wanted >= threshold)).sum())
        return Reading(repeated, float(np.abs(given - wanted).max()), differ)

    def _submit(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = self._system.http.post("/api/v1/jobs", json=request)
        job: dict[str, Any] = answer.raise_for_status().json()
        return job

    def _last_report(self) -> datetime:
        """When the last report was made, once every patient of every job has one; a look costs next to nothing."""

        def last() -> str | None:
            with self._database() as database:
                query = "SELECT count(*) - count(reported_at), max(reported_at) FROM job_patient"
                still_open, at = database.execute(query).fetchone()
            return at if not still_open else None

        return datetime.fromisoformat(eventually(last, JOB_S, "every patient has a report", 0.5)).replace(tzinfo=UTC)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(f"file:{self._system.files / 'overread.sqlite'}?mode=ro", uri=True)) as database:
            yield database


def _processes(names: tuple[str, ...]) -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            found += [process] if any(SERVICES[name] in command for name in names) else []
    return found


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _resident_bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
