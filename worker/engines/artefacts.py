"""What engines compiled once and keep: folders under a name, each with the digests of what is in it."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SEAL = "sha256.json"
KEPT_S = 30 * 86_400.0


def kept(cache: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name, filled by `make` where it is not there or not as it was written.

    Several processes may make the same one at the same time: one of the equal results stays. What nobody used for
    `KEPT_S` is removed when something new is made.
    """
    folder = cache / name
    if _is_whole(folder):
        with contextlib.suppress(OSError):  # only so that it is kept for longer
            os.utime(folder)
        return folder
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_unused(cache)
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache, ignore_cleanup_errors=True) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        make(made)
        (made / SEAL).write_text(json.dumps(_digests(made)))
        if folder.exists() and not _is_whole(folder):
            # Whoever has a damaged one open keeps what it opened.
            with contextlib.suppress(FileNotFoundError):
                folder.rename(Path(scratch) / "old")
        with contextlib.suppress(OSError):  # another process was faster
            made.rename(folder)
        if not _is_whole(folder):
            raise OSError(f"{folder.name} could not be kept")
    return folder


def _remove_unused(cache: Path) -> None:
    for entry in os.scandir(cache):
        with contextlib.suppress(OSError):  # another process was faster
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > KEPT_S:
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """True when the folder holds exactly what its seal says."""
    try:
        return bool(json.loads((folder / SEAL).read_text()) == _digests(folder))
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name != SEAL:
            with Path(entry.path).open("rb") as file:
                found[entry.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
