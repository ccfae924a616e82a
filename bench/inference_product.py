"""The product as a user starts it: model registered and proved, studies stored, then job to last report, timed."""

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.inference_models import Model
from bench.inference_work import Cohort
from tests.model_samples import zip_package
from tests.system import eventually, running_system

PROOF_S = 600.0
JOB_S = 1800.0


@dataclass(frozen=True)
class Reading:
    """How the product's answers to a cohort agree with the reference's."""

    repeated: float
    distance: float
    differ: int


class Product:
    """A running system with one model, whose engines are proved."""

    def __init__(self, model: Model) -> None:
        self._running = running_system()
        self._model = model
        self._upload = ""
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

    def upload(self, cohort: Cohort) -> None:
        """Store the studies; not timed."""
        with cohort.zipped().open("rb") as body:
            headers = {"Content-Type": "application/zip"}
            answer = self._system.http.post("/api/v1/uploads", content=body, headers=headers, timeout=600.0)
        answer.raise_for_status()
        self._upload = answer.json()["id"]

    def run(self, cohort: Cohort) -> float:
        """Seconds from the job's acceptance to the last of its reports, by the product's own clock."""
        answer = self._system.http.post("/api/v1/jobs", json={"uploads": [self._upload]})
        job = answer.raise_for_status().json()
        done = self._system.finished(job["id"], JOB_S)
        assert done["state"] == "done", done

        def all_reports() -> list[dict[str, Any]] | None:
            found = self._system.pages("/api/v1/reports", job=job["id"], limit=500)
            return found if len(found) == cohort.num_patients else None

        reports = eventually(all_reports, JOB_S, "every patient has a report", 0.5)
        last = max(datetime.fromisoformat(one["created_at"]) for one in reports)
        return (last - datetime.fromisoformat(job["created_at"])).total_seconds()

    def compare(self, cohort: Cohort, answers: NDArray[Any]) -> Reading:
        """Every stored probability against the script's, which are the reference's."""
        threshold = self._model.contract.findings[0].threshold
        digests = {hashlib.sha256(path.read_bytes()).hexdigest(): at for at, path in enumerate(cohort.paths)}
        with sqlite3.connect(f"file:{self._system.files / 'overread.sqlite'}?mode=ro", uri=True) as database:
            rows = database.execute("SELECT blob_sha256, probabilities, engine FROM prediction").fetchall()
        found = {digests[digest]: (json.loads(text)[0], engine) for digest, text, engine in rows if digest in digests}
        assert len(found) == len(cohort.paths), f"{len(found)} predictions of {len(cohort.paths)} instances"
        given = np.array([found[at][0] for at in range(len(found))])
        wanted = answers[:, 0]
        repeated = sum(engine != self.serving["engine"] for _, engine in found.values()) / len(found)
        differ = int(((given >= threshold) != (wanted >= threshold)).sum())
        return Reading(repeated, float(np.abs(given - wanted).max()), differ)
