"""Queue and task names, the Celery app, and hints: messages that name a lane, never a patient."""

from enum import StrEnum

import structlog
from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError

from shared.config import Settings
from shared.faults import faults
from shared.states import Lane

log = structlog.get_logger()

# A sender waits no longer for a broker that hangs: recovery sends the hint again.
SENDER_TIMEOUT_S = 1.0
# A worker waits for messages by blocking reads, which must not run into it.
WORKER_TIMEOUT_S = 10.0


class TaskName(StrEnum):
    """Tasks are called by name; a sender never imports one."""

    INFER_NEXT = "overread.infer_next"
    TRAIN_NEXT = "overread.train_next"

    @classmethod
    def of_lane(cls, lane: Lane) -> "TaskName":
        """What a hint to this lane calls."""
        return cls.TRAIN_NEXT if lane is Lane.TRAINING else cls.INFER_NEXT


def _queue(lane: Lane) -> Queue:
    # An exchange of its own: queues that share one would each get every hint.
    exchange = Exchange(lane.value, type="direct")  # type: ignore[no-untyped-call]
    return Queue(lane.value, exchange, routing_key=lane.value)  # type: ignore[no-untyped-call]


def make_celery(settings: Settings, *, socket_timeout_s: float = SENDER_TIMEOUT_S) -> Celery:
    """The Celery app: JSON only, early acknowledgement, no results; the lease in SQL brings work back."""
    app = Celery("overread", broker=settings.broker_url)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,
        task_store_errors_even_if_ignored=False,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A hint is not worth waiting for: recovery sends it again. Without max_retries, kombu tries for six seconds.
        task_publish_retry=False,
        broker_transport_options={"socket_connect_timeout": 2.0, "socket_timeout": socket_timeout_s, "max_retries": 0},
        redis_socket_connect_timeout=2.0,
        task_queues=[_queue(lane) for lane in Lane],
        task_default_queue=Lane.ROUTINE.value,
    )
    return app


class HintSender:
    """Sends hints; a broker that is down costs time, never work, so failure is logged and dropped."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, lane: Lane, count: int) -> bool:
        """Send `count` hints to a lane; False when the broker cannot be reached."""
        try:
            for _ in range(sum(faults().copies_of_hint() for _ in range(count))):
                self._app.send_task(TaskName.of_lane(lane).value, kwargs={"lane": lane.value}, queue=lane.value)
        except (OperationalError, OSError) as error:
            log.warning("hint_not_sent", lane=lane.value, error=type(error).__name__)
            return False
        return True
