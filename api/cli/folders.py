"""The embedded system's data folder: private, writable, used by one copy at a time."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.cli.errors import StartError

TOKEN_FILE = "admin-token"  # noqa: S105 - the file's name, not a token
PROBE_BYTES = 64 * 1024
MIB = 1024 * 1024


def make_private(folder: Path) -> None:
    """Make the folder, for its owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def prepare_data_dir(data_dir: Path) -> None:
    """Make the folders and try the disk; raises StartError in words that help."""
    try:
        for folder in (data_dir, data_dir / "logs", data_dir / "run"):
            make_private(folder)
        _probe(data_dir)
    except OSError as error:
        raise StartError(
            f"the data folder {data_dir} cannot be used: {error.strerror}. "
            "Free some disk or make it writable, or choose another with --data-dir"
        ) from error


def _probe(data_dir: Path) -> None:
    probe = data_dir / "run" / "probe"
    try:
        with probe.open("wb") as handle:
            handle.write(bytes(PROBE_BYTES))
            handle.flush()
            os.fsync(handle.fileno())
    finally:
        probe.unlink(missing_ok=True)


def check_free_space(data_dir: Path, needed_bytes: int) -> None:
    """Raise StartError when the disk is so full that the API would not count as ready."""
    free_bytes = shutil.disk_usage(data_dir).free
    if free_bytes < needed_bytes:
        raise StartError(
            f"the disk of {data_dir} has {free_bytes // MIB} MiB left, fewer than the {needed_bytes // MIB} MiB that "
            "are kept free: free some, choose another with --data-dir, or lower OVERREAD_MIN_FREE_BYTES"
        )


@contextmanager
def sole_use(data_dir: Path) -> Iterator[None]:
    """Hold the data folder's lock; raises StartError with the holder's process number when another copy has it.

    The kernel lets go of the lock with the process, so a crash leaves nothing to clean up.
    """
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            raise StartError(
                f"the data folder {data_dir} is in use by another copy of Overread, process {holder}; "
                "end that one first, or choose another folder with --data-dir"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def keep_token(data_dir: Path, token: str) -> None:
    """Write the admin token where the command line finds it, readable by its owner alone."""
    temporary = data_dir / f"{TOKEN_FILE}.new"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as handle:
        handle.write(token + "\n")
    temporary.replace(data_dir / TOKEN_FILE)


def kept_token(data_dir: Path) -> str | None:
    """The admin token that `up` or `demo` stored, if any."""
    try:
        return (data_dir / TOKEN_FILE).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
