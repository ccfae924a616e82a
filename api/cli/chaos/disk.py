"""A small disk of the run's own, so that it can be full: a tmpfs in a mount namespace that ends with the command."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.cli.errors import StartError

MIB = 1024 * 1024
SIZE_BYTES = 2048 * MIB
# Set in the command that goes on within the namespace.
MARK = "OVERREAD_CHAOS_NAMESPACE"
# What others store meanwhile can make a size too small for what is there.
TRIES = 20


def go_on_in_namespace(database: str) -> None:
    """Begin this command again in a mount namespace; return where that is done already, or cannot be had."""
    if MARK not in os.environ and (words := namespace(database)):
        words += [sys.executable, *sys.argv]
        os.execvpe(words[0], words, os.environ | {MARK: "yes"})  # noqa: S606 - becomes it


def namespace(database: str) -> list[str]:
    """The beginning of a command that is to have a mount namespace of its own; empty where none can be had."""
    return next((words for words in _namespaces(database) if _works([*words, "true"])), [])


def _namespaces(database: str) -> Iterator[list[str]]:
    if os.geteuid() == 0:
        yield ["unshare", "--mount"]
    # Who seems to be root there may mount, but PostgreSQL does not run as root.
    if database == "sqlite":
        yield ["unshare", "--user", "--map-root-user", "--mount"]


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class SmallDisk:
    """A file system over a folder, that can be full to the last byte."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES},mode=700", "tmpfs", str(folder))

    def fill(self) -> bool:
        """Make it as large as what it holds; False where it grew each time."""
        return any(self._has_size(shutil.disk_usage(self._folder).used) for _ in range(TRIES))

    def make_room(self) -> None:
        """Give it its size back."""
        if not self._has_size(SIZE_BYTES):
            raise StartError(f"the disk in {self._folder} could not be given its size back")

    def end(self) -> None:
        """Unmount it; what it held goes into the folder below."""
        kept = self._folder.with_name("kept")
        shutil.copytree(self._folder, kept, symlinks=True, ignore=_sockets)
        _run("umount", str(self._folder))
        self._folder.rmdir()
        kept.rename(self._folder)

    def _has_size(self, size_bytes: int) -> bool:
        return _works(["mount", "-o", f"remount,size={size_bytes}", str(self._folder)])


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk | None]:
    """One over the folder as long as the block lasts; None where this process has no namespace of its own."""
    if MARK not in os.environ:
        yield None
        return
    disk = SmallDisk(folder)
    try:
        yield disk
    finally:
        disk.end()


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if stat.S_ISSOCK((Path(folder) / name).lstat().st_mode)]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartError(f"{command[0]} failed: {done.stderr.strip()}")
