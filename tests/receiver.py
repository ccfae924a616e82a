"""A real HTTP receiver of notices on loopback, which may be slow, refuse, redirect or never stop to answer."""

import hmac
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shared.config import Settings

SECRET = "a secret of at least 32 characters"


@dataclass(frozen=True)
class Got:
    """A notice as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def delivery(self) -> str:
        return self.headers["Overread-Delivery"]

    def is_signed(self, secret: str = SECRET) -> bool:
        text = self.headers["Overread-Timestamp"].encode() + b"." + self.body
        return self.headers["Overread-Signature"] == "v1=" + hmac.new(secret.encode(), text, "sha256").hexdigest()


class Receiver(ThreadingHTTPServer):
    """Gives the statuses that are wanted in their order, the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[Got] = []
        self.statuses: deque[int] = deque([204])
        self.takes_s = 0.0
        self.instead: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.url = f"http://127.0.0.1:{self.server_address[1]}/notices"

    def answers(self, *statuses: int) -> None:
        self.statuses = deque(statuses)

    def deliveries(self) -> list[str]:
        return [one.delivery for one in self.got]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.got.append(Got(self.path, dict(self.headers), body, time.monotonic()))
        if self.server.instead is not None:
            with suppress(OSError):
                self.server.instead(self)
            return
        time.sleep(self.server.takes_s)
        statuses = self.server.statuses
        self.send_response(statuses.popleft() if len(statuses) > 1 else statuses[0])
        self.send_header("Location", self.server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver in a thread, ended with the block."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()


def quick(settings: Settings, *receivers: Receiver, **changes: object) -> Settings:
    """Settings that allow these receivers and try again soon."""
    origins = ",".join(receiver.url.removesuffix("/notices") for receiver in receivers)
    usual: dict[str, object] = {
        "webhook_targets": origins,
        "webhook_private": True,
        "webhook_backoff_s": 0.05,
        "webhook_max_backoff_s": 0.2,
        "duty_interval_s": 0.02,
    }
    return settings.model_copy(update=usual | changes)
