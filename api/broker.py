"""Whether the broker answers: asked at most every two seconds, told by readiness, queues and waiting jobs."""

import threading
import time
from dataclasses import dataclass
from datetime import datetime

import structlog
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from shared.clock import utc_now

log = structlog.get_logger()

PROBE_TIMEOUT_S = 0.5
FRESH_S = 2.0
OK = "ok"


@dataclass(frozen=True)
class Outage:
    """The broker does not answer, as this process first saw at `since`."""

    since: datetime

    @property
    def sentence(self) -> str:
        """In words, for people."""
        return f"the broker has been unreachable since {self.since:%Y-%m-%d %H:%M:%S} UTC; what waits is kept"


class BrokerWatch:
    """Remembers the last answer; one request asks again, the others take what is known meanwhile."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._probing = threading.Lock()
        self._outage: Outage | None = None
        self._asked_at: float | None = None

    def outage(self) -> Outage | None:
        """The broker's present outage; None while it answers."""
        # Nothing is known before the first answer, so it is waited for; later ones are not.
        if not self._is_fresh() and self._probing.acquire(blocking=self._asked_at is None):
            try:
                if not self._is_fresh():
                    self._probe()
            finally:
                self._probing.release()
        return self._outage

    def _is_fresh(self) -> bool:
        return self._asked_at is not None and time.monotonic() - self._asked_at < FRESH_S

    def _probe(self) -> None:
        answers = _answers(self._url)
        if answers and self._outage is not None:
            log.info("broker_is_back")
        if not answers and self._outage is None:
            log.warning("broker_unreachable")
        self._outage = None if answers else self._outage or Outage(utc_now())
        self._asked_at = time.monotonic()


def _answers(url: str) -> bool:
    options = {"socket_connect_timeout": PROBE_TIMEOUT_S, "socket_timeout": PROBE_TIMEOUT_S, "max_retries": 0}
    try:
        with Connection(url, transport_options=options) as connection:  # type: ignore[no-untyped-call]
            # A channel to Valkey or Redis begins with a PING.
            return connection.default_channel is not None
    except (OperationalError, OSError):
        return False
