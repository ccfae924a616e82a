"""The zips that models come in (packages, `.keras` files): named, counted and sized before inflation."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import InvalidModelPackageError

CHUNK_BYTES = 1024 * 1024
MAX_DIRECTORY_BYTES = 64 * 1024
MAX_RATIO = 200
"""Weights are numbers: they hardly shrink. What shrinks more than this, beyond `FREE_BYTES`, is a bomb."""
FREE_BYTES = 1024 * 1024
SHOWN_ENTRIES = 5

_END_BYTES = 22
_ZIP64_LOCATOR_BYTES = 20
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)


class ModelZip:
    """An opened zip whose entries are known to be plain, few, and within the size allowed."""

    def __init__(self, archive: zipfile.ZipFile, label: str) -> None:
        self._archive = archive
        self._label = label
        self.sizes = {entry.filename: entry.file_size for entry in archive.infolist()}

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """One small entry, whole; refused when it is larger than `max_bytes`."""
        if self.sizes[name] > max_bytes:
            raise InvalidModelPackageError(
                f"{self._label}: {name} has {self.sizes[name]} bytes, more than the {max_bytes} allowed"
            )
        return b"".join(self.stream(name))

    def stream(self, name: str) -> Iterator[bytes]:
        """The bytes of an entry, chunk by chunk; the CRC is checked at the end."""
        try:
            with self._archive.open(name) as entry:
                while chunk := entry.read(CHUNK_BYTES):
                    yield chunk
        except _DAMAGE as error:
            raise InvalidModelPackageError(
                f"{self._label}: {name} is damaged ({type(error).__name__}); make it again"
            ) from error


@contextmanager
def open_model_zip(
    path: Path, *, label: str, names: frozenset[str], max_bytes: int, optional: frozenset[str] = frozenset()
) -> Iterator[ModelZip]:
    """Open the zip at `path`: it must hold the entries `names`, may hold those of `optional`, and nothing else.

    Together they inflate to `max_bytes` at most.

    Raises InvalidModelPackageError; `label` begins its messages.
    """
    _check_directory_size(path, label)
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise InvalidModelPackageError(
            f"{label} is not a zip, or a damaged one ({type(error).__name__}); make it again"
        ) from error
    with archive:
        _check_names([entry.filename for entry in archive.infolist()], label, names, optional)
        _check_entries(archive.infolist(), label, max_bytes)
        yield ModelZip(archive, label)


def _check_directory_size(path: Path, label: str) -> None:
    """Bound the table of contents before `zipfile` makes an object of every line of it (APPNOTE 4.3.16)."""
    with path.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - _ZIP64_LOCATOR_BYTES - _END_BYTES))
        tail = handle.read()
    end = tail[-_END_BYTES:]
    if len(end) < _END_BYTES or end[:4] != b"PK\x05\x06" or end[-2:] != b"\x00\x00":
        raise InvalidModelPackageError(
            f"{label} is not a plain zip: it must end with the zip's own record, without a comment"
        )
    if tail[:-_END_BYTES][:4] == b"PK\x06\x07":
        raise InvalidModelPackageError(f"{label} is a zip64; models of 4 GiB or more are not accepted")
    (directory_bytes,) = struct.unpack("<L", end[12:16])
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise InvalidModelPackageError(f"{label} holds far more entries than a model has")


def _check_names(found: list[str], label: str, names: frozenset[str], optional: frozenset[str]) -> None:
    if sorted(set(found)) != sorted(found) or not names <= set(found) <= names | optional:
        shown = ", ".join(repr(name[:60]) for name in found[:SHOWN_ENTRIES]) or "nothing"
        may = f" (and perhaps {', '.join(sorted(optional))})" if optional else ""
        raise InvalidModelPackageError(
            f"{label} holds {shown}{' and more' if len(found) > SHOWN_ENTRIES else ''}; "
            f"expected exactly {', '.join(sorted(names))}{may}, each once, in no folder"
        )


def _check_entries(entries: list[zipfile.ZipInfo], label: str, max_bytes: int) -> None:
    for entry in entries:
        _check_entry(entry, label)
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise InvalidModelPackageError(f"{label} inflates to {total} bytes, more than the {max_bytes} allowed")


def _check_entry(entry: zipfile.ZipInfo, label: str) -> None:
    if entry.header_offset < 0:
        raise InvalidModelPackageError(f"{label}: {entry.filename} lies outside the file; make it again")
    if entry.flag_bits & 0x1:
        raise InvalidModelPackageError(f"{label}: {entry.filename} is encrypted; send it in the clear")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidModelPackageError(f"{label}: {entry.filename} must be stored or deflated")
    if entry.file_size > max(FREE_BYTES, MAX_RATIO * entry.compress_size):
        raise InvalidModelPackageError(
            f"{label}: {entry.filename} claims to inflate {entry.compress_size} bytes to {entry.file_size}, "
            f"more than {MAX_RATIO} times; store it without compression"
        )
