"""From the paths on the command line to the files to send, in batches."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from api.cli.errors import ChangedFileError

BATCH_BYTES = 32 * 1024 * 1024
BATCH_FILES = 1000
DICM_OFFSET = 128

HIDDEN = "hidden"
BROKEN_LINK = "broken link"
LINKED = "link to a folder"
UNREADABLE = "unreadable folder"
SPECIAL = "no plain file"


@dataclass(frozen=True)
class LocalFile:
    """A file to send: where it lies, the name it is shown under, and its size when it was found."""

    path: Path
    name: str
    size_bytes: int


@dataclass
class Collected:
    """The files to send; `skipped` holds what was left out, by kind."""

    files: list[LocalFile]
    skipped: dict[str, list[Path]]


def collect_files(paths: Iterable[Path]) -> list[LocalFile]:
    """Every plain file under the paths, in a stable order; hidden ones inside folders are left out."""
    return collect(paths).files


def collect(paths: Iterable[Path]) -> Collected:
    """As `collect_files`, with what was left out."""
    found: dict[Path, LocalFile] = {}
    skipped: dict[Path, str] = {}
    for given in paths:
        # The parent of the resolved path, so that `.` has a name too.
        root = given.resolve()
        for path in _walk(root, skipped) if root.is_dir() else [root]:
            if path.is_file():
                name = path.relative_to(root.parent).as_posix()
                found.setdefault(path, LocalFile(path, name, path.stat().st_size))
            else:
                skipped[path] = BROKEN_LINK if path.is_symlink() else SPECIAL
    kinds: defaultdict[str, list[Path]] = defaultdict(list)
    for path, kind in skipped.items():
        if path not in found:
            kinds[kind].append(path)
    return Collected(list(found.values()), dict(kinds))


def _walk(root: Path, skipped: dict[Path, str]) -> Iterator[Path]:
    def note_unreadable(error: OSError) -> None:
        skipped[Path(error.filename)] = UNREADABLE

    for at, subfolders, names in os.walk(root, onerror=note_unreadable):
        folder = Path(at)
        hidden = [name for name in (*subfolders, *names) if name.startswith(".")]
        links = [name for name in subfolders if not name.startswith(".") and (folder / name).is_symlink()]
        skipped |= {folder / name: HIDDEN for name in sorted(hidden)} | {
            folder / name: LINKED for name in sorted(links)
        }
        subfolders[:] = sorted(set(subfolders) - {*hidden, *links})
        yield from (folder / name for name in sorted(set(names) - set(hidden)))


def in_batches(files: Iterable[LocalFile]) -> Iterator[list[LocalFile]]:
    """Groups of files worth one request each; a file larger than a batch goes alone."""
    batch: list[LocalFile] = []
    size_bytes = 0
    for file in files:
        if batch and (len(batch) >= BATCH_FILES or size_bytes + file.size_bytes > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(file)
        size_bytes += file.size_bytes
    if batch:
        yield batch


def is_zip(path: Path) -> bool:
    """True for an archive; a DICOM file whose free preamble looks like one is not."""
    try:
        with path.open("rb") as handle:
            start = handle.read(DICM_OFFSET + 4)
    except OSError as error:
        raise ChangedFileError(f"a file cannot be read: {error.strerror}; mend that and continue") from error
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06")) and start[DICM_OFFSET:] != b"DICM"
