"""What clients were told and what was done to the system, kept outside of it for the oracle."""

import json
import threading
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from api.cli.chaos.plan import Kind


@dataclass(frozen=True)
class Done:
    """A fault that was done; `owner`: the worker that it hit; `recovered_s`: until what was hit answered again."""

    kind: Kind
    at: datetime
    owner: str = ""
    recovered_s: float | None = None


class Ledger:
    """Shared by all threads of a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, list[str]] = defaultdict(list)
        self._faults: list[Done] = []
        self._answers: Counter[str] = Counter()
        self.shards = 0
        self.open_shards = 0

    def acknowledge(self, key: str, job_id: str, shards: int) -> None:
        """A request with this Idempotency-Key got a 202 for a job."""
        with self._lock:
            if job_id not in self._jobs[key]:
                self._jobs[key].append(job_id)
                self.shards += shards

    def did(self, fault: Done) -> None:
        """A fault was done."""
        with self._lock:
            self._faults.append(fault)

    def count(self, answer: str) -> None:
        """Count what a client met that was not an answer to its wish."""
        with self._lock:
            self._answers[answer] += 1

    def jobs(self) -> list[str]:
        """Every acknowledged job, once for each key that it was acknowledged under."""
        with self._lock:
            return [job_id for job_ids in self._jobs.values() for job_id in job_ids]

    def two_answers(self) -> int:
        """How many keys were answered with two jobs: each is one job too many."""
        with self._lock:
            return sum(len(job_ids) - 1 for job_ids in self._jobs.values() if job_ids)

    def faults(self) -> list[Done]:
        """What was done, in order."""
        with self._lock:
            return list(self._faults)

    def answers(self) -> Counter[str]:
        """What clients met."""
        with self._lock:
            return Counter(self._answers)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """The oracle's two files: acknowledged jobs, faults done."""
        jobs, faults = folder / "acknowledged.json", folder / "faults.json"
        jobs.write_text(json.dumps(self.jobs()))
        faults.write_text(json.dumps([asdict(fault) | {"at": fault.at.isoformat()} for fault in self.faults()]))
        return jobs, faults


def now() -> datetime:
    """UTC, aware."""
    return datetime.now(UTC)
