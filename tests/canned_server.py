"""A real HTTP server on loopback that gives prepared answers, for what the real API does only on bad days."""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROBLEM = {"Content-Type": "application/problem+json"}
JOB = "0190a0b0-0000-7000-8000-00000000000a"


def job(state: str, **changes: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    counts = {"total": 3, "done": 2, "failed": 1, "skipped": 0, "cancelled": 0, "pending": 0, "reused": 0}
    return {
        "id": JOB,
        "kind": "inference",
        "state": state,
        "priority": "routine",
        "label": "",
        "model": {"name": "m", "version": 3},
        "counts": counts,
        "position": None,
        "eta_s": None,
        "eta_error_s": None,
        "waiting": None,
        "retry_of": None,
        "training": None,
        "created_at": "2026-11-24T12:00:00Z",
        "started_at": None,
        "finished_at": None,
    } | changes


@dataclass(frozen=True)
class Answer:
    """One answer; `breaks` closes the connection instead, after the request was read."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    breaks: bool = False


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class CannedServer(ThreadingHTTPServer):
    """Answers for each `METHOD /path` in their order, the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, deque[Answer]] = defaultdict(deque)
        self.asked: list[Asked] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, request: str, *answers: Answer) -> None:
        self.answers[request].extend(answers)

    def paths(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: CannedServer

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(Asked(self.command, self.path, dict(self.headers), body))
        waiting = self.server.answers[f"{self.command} {self.path.partition('?')[0]}"]
        answer = waiting.popleft() if len(waiting) > 1 else waiting[0]
        if answer.breaks:
            self.close_connection = True
            return
        content = json.dumps(answer.body).encode() if not isinstance(answer.body, bytes) else answer.body
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def canned_server() -> Iterator[CannedServer]:
    """A server in a thread, ended with the block."""
    server = CannedServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
