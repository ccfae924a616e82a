"""Runs a worker: `python -m worker.serve`, Celery's threads pool in this one process."""

from typing import Any

from celery.signals import worker_shutting_down

from shared.config import load_settings
from shared.faults import arm
from shared.logging import set_up_logging
from shared.states import Lane
from worker.app import make_worker_app
from worker.heartbeat import Heartbeat
from worker.prover import Prover
from worker.runtime import Runtime

# A proof that is in the midst of a step is ended with the process, and another worker begins it again.
PROVER_END_S = 5.0


def main() -> None:
    """Work until ended; TERM finishes the batches in hand and gives the shards back."""
    set_up_logging()
    settings = load_settings()
    arm(settings)
    runtime = Runtime(settings)
    app = make_worker_app(settings, runtime)

    @worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def _stop_claiming(**_: Any) -> None:
        runtime.stopping.set()

    heartbeat = Heartbeat(runtime)
    prover = Prover(runtime)
    heartbeat.start()
    prover.start()
    try:
        app.worker_main(
            [
                "--quiet",
                "worker",
                "--pool=threads",
                # A training run has a thread of its own beside those that predict.
                f"--concurrency={settings.worker_concurrency + (Lane.TRAINING in runtime.lanes)}",
                f"--queues={','.join(runtime.lanes)}",
                f"--hostname={runtime.name}",
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
                "--loglevel=WARNING",
            ]
        )
    finally:
        prover.end()
        prover.join(PROVER_END_S)
        heartbeat.end()
        runtime.close()


if __name__ == "__main__":
    main()
