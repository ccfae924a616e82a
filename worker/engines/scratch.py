"""A temporary folder for what runs a network; what a killed worker left behind is removed when the next one starts."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

PREFIX = "overread-engine-"
# A younger one may not be locked yet by whoever made it.
MIN_AGE_S = 60.0


@contextmanager
def scratch_folder(root: Path | None = None) -> Iterator[str]:
    """Room for what can be large, in `root` or the temporary folder; removed in the end, whatever was done in it."""
    root = root or Path(tempfile.gettempdir())
    _remove_abandoned(root)
    with (
        TemporaryDirectory(prefix=PREFIX, dir=root, ignore_cleanup_errors=True) as folder,
        _locked(Path(folder)),
    ):
        yield folder


def _remove_abandoned(root: Path) -> None:
    """What is killed cannot clean up after itself: folders that nobody holds are removed."""
    for folder in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # no folder, in use, or removed by another worker
            seen = folder.lstat()
            if seen.st_uid == os.geteuid() and time.time() - seen.st_mtime > MIN_AGE_S:
                with _locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder for as long as this process lives; raises BlockingIOError where another one does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
