"""Celery's entry: the app with its tasks registered; loads no engine."""

from celery import Celery

from shared.config import Settings
from shared.queue import WORKER_TIMEOUT_S, TaskName, make_celery
from worker.broker import use_hint_transport
from worker.runtime import Runtime
from worker.tasks import infer_next, train_next


def make_worker_app(settings: Settings, runtime: Runtime) -> Celery:
    """The Celery app of a worker process; its tasks use `runtime`."""
    use_hint_transport()
    app = make_celery(settings, socket_timeout_s=WORKER_TIMEOUT_S)

    @app.task(name=TaskName.INFER_NEXT.value, shared=False)  # type: ignore[untyped-decorator]
    def run_infer_next(*, lane: str) -> None:  # noqa: ARG001 - told to people who look at the queue: a hint wakes, the claim decides
        infer_next(runtime)

    @app.task(name=TaskName.TRAIN_NEXT.value, shared=False)  # type: ignore[untyped-decorator]
    def run_train_next(*, lane: str) -> None:  # noqa: ARG001 - the same
        train_next(runtime)

    return app
