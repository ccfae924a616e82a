"""Dispatch latency: from the 202 to the first prediction's commit on a warm worker; Celery's no-op as the yardstick."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery import Celery

from tests.cohorts import film, zipped
from tests.faults.injection import service_environment
from tests.model_samples import accept_everything_package, zip_package
from tests.system import running_system

NOOP = "bench.noop"
READY_S = 60.0


def make_noop_app(broker: str) -> Celery:
    """A Celery application of its own queue whose answers come back through the same broker."""
    app = Celery("bench", broker=broker, backend=broker)
    app.conf.update(task_default_queue="bench", accept_content=["json"], broker_connection_retry_on_startup=True)
    return app


def dispatch(folder: Path, jobs: int) -> tuple[list[float], list[float]]:
    """Seconds from 202 to the first commit of each job, and of as many Celery no-ops, interleaved."""
    package = zip_package(accept_everything_package(folder / "model"), folder / "model.zip")
    latencies, yardsticks = [], []
    with running_system() as system:
        system.add_model(package)
        broker = service_environment(system)["OVERREAD_BROKER_URL"]
        system.finished(system.submit(zipped([("warm.dcm", film("WARM", 1, 1))]))["id"])
        with _noop_worker(broker) as app:
            for number in range(jobs):
                yardsticks.append(_noop(app))
                body = zipped([("one.dcm", film(f"BENCH{number}", 1, number))])
                job = system.submit(body, priority="urgent")
                accepted_at = datetime.now(UTC)
                finished_at = datetime.fromisoformat(system.finished(job["id"])["finished_at"])
                latencies.append(max(0.0, (finished_at - accepted_at).total_seconds()))
    return latencies, yardsticks


def _noop(app: Celery) -> float:
    began = time.perf_counter()
    app.send_task(NOOP).get(timeout=30.0)
    return time.perf_counter() - began


@contextmanager
def _noop_worker(broker: str) -> Iterator[Celery]:
    command = [sys.executable, "-m", "bench.queue_dispatch", broker]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        app = make_noop_app(broker)
        app.send_task(NOOP).get(timeout=READY_S)
        yield app
    finally:
        process.terminate()
        process.wait(timeout=30)


def serve_noops(broker: str) -> None:
    """A Celery worker with the threads pool, as ours, that does nothing."""
    app = make_noop_app(broker)

    @app.task(name=NOOP)
    def noop() -> None:
        """Answer."""

    arguments: list[Any] = ["--quiet", "worker", "--pool=threads", "--concurrency=4", "--queues=bench"]
    app.worker_main([*arguments, "--without-gossip", "--without-mingle", "--loglevel=ERROR"])


if __name__ == "__main__":
    serve_noops(sys.argv[1])
