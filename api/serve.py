"""Runs the API under gunicorn: `python -m api.serve`."""

import socket
import struct
from typing import Any

from gunicorn.app.base import BaseApplication

from api.app import create_app
from shared.allocator import keep_memory
from shared.collector import leave_out_of_collections
from shared.config import Settings, load_settings
from shared.faults import arm
from shared.logging import set_up_logging

REQUEST_TIMEOUT_S = 120


# A connection on which nothing arrives for so long is given up: it would hold a thread for ever.
IDLE_S = 30


def _give_up_on_silence(worker: Any) -> None:
    """Set a receive timeout on the listeners; on Linux, the connections they accept inherit it."""
    for listener in worker.sockets:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", IDLE_S, 0))


class _Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn with our settings instead of a configuration file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"{self._settings.api_host}:{self._settings.api_port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": self._settings.api_threads,
            # Threads serve long uploads; the process itself still has to answer its master in this time.
            "timeout": REQUEST_TIMEOUT_S,
            "graceful_timeout": 10,
            "post_worker_init": _give_up_on_silence,
            "worker_tmp_dir": str(self._settings.data_dir),
            "control_socket_disable": True,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        app = create_app(self._settings)
        leave_out_of_collections()
        return app


def main() -> None:
    """Serve until ended."""
    keep_memory()
    set_up_logging()
    settings = load_settings()
    arm(settings)
    _Server(settings).run()


if __name__ == "__main__":
    main()
