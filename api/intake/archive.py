"""A spooled zip becomes its files, entry by entry: nothing in it is believed, nothing of it named (arrow 1).

Skipped without a word: directories, everything under `__MACOSX/`, and what file managers leave behind (`.DS_Store`,
`._*`, `Thumbs.db`, `desktop.ini`). Every other entry comes out as a blob or a reason of its own, and the others go on.
Only stored and deflated entries are read: bzip2 and LZMA inflate a few kilobytes to gigabytes in one step.
"""

import re
import stat
from collections.abc import Generator
from typing import BinaryIO

from api.intake.central_directory import CentralDirectory, Entry
from api.intake.spooling import Cap, ReceivedFile, is_zip, spool_file
from api.intake.zip_entry import DEFLATED, STORED, Budget, OpenEntry
from shared.config import Settings
from shared.errors import InvalidArchiveError, InvalidDicomError, PermanentError
from shared.reasons import Reason
from shared.storage import ContentStore, SpooledBlob

FLAGS_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
METHOD_NAMES = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
DRIVE = re.compile(r"[A-Za-z]:")
LEFT_BEHIND = frozenset({".ds_store", "thumbs.db", "desktop.ini"})


def read_archive(
    archive: SpooledBlob, name: str, store: ContentStore, settings: Settings
) -> Generator[ReceivedFile, None, None]:
    """Each entry of the zip as a file of its own, called `<name of the zip>/<name of the entry>`.

    The archive is this generator's: it is unlinked as soon as it is open. A zip whose list cannot be read, is too
    long or names no files comes out as one refused file.
    """
    try:
        file = archive.path.open("rb")
    finally:
        archive.drop()
    with file:
        yield from _read_entries(file, name, store, settings)


def _read_entries(
    file: BinaryIO, name: str, store: ContentStore, settings: Settings
) -> Generator[ReceivedFile, None, None]:
    try:
        directory = CentralDirectory(file, settings.max_archive_entries)
    except InvalidArchiveError as error:
        yield ReceivedFile.refused(name, error)
        return
    budget = Budget(settings)
    empty = True
    for entry in directory:
        received = _receive_entry(OpenEntry(file, directory, entry, budget), name, store, settings)
        if received is None:
            continue
        empty = False
        yield received
        if received.reason is Reason.ARCHIVE_TOO_LARGE:
            return
    if empty:
        yield ReceivedFile.refused(name, InvalidDicomError("the zip holds no files", reason=Reason.EMPTY_FILE))


def _receive_entry(entry: OpenEntry, archive_name: str, store: ContentStore, settings: Settings) -> ReceivedFile | None:
    def cap_of(head: bytes) -> Cap:
        if is_zip(head):
            raise InvalidArchiveError(
                "a zip inside a zip is not opened; send the inner one by itself", reason=Reason.NESTED_ARCHIVE
            )
        return Cap(settings.max_file_bytes, Reason.TOO_LARGE)

    name = entry.claims.name
    shown = f"{archive_name}/{name}" if archive_name else name
    try:
        _check_name(name)
        if _is_left_out(name, entry.claims.unix_mode):
            return None
        _check_kind(entry.claims)
        blob, _ = spool_file(entry.pieces(), store, settings, cap_of)
    except PermanentError as error:
        return ReceivedFile.refused(shown, error)
    return ReceivedFile.kept(shown, blob)


def _check_name(name: str) -> None:
    climbs = name.startswith("/") or ".." in name.split("/")
    if climbs or DRIVE.match(name) or "\\" in name or "\0" in name:
        raise InvalidArchiveError(
            "the entry's name is absolute, climbs with '..', or has a backslash, drive or NUL; "
            "expected a relative name with '/'",
            reason=Reason.UNSAFE_PATH,
        )


def _is_left_out(name: str, unix_mode: int) -> bool:
    *folders, last = name.split("/")
    is_directory = not last or stat.S_ISDIR(unix_mode)
    return is_directory or "__MACOSX" in folders or last.startswith("._") or last.lower() in LEFT_BEHIND


def _check_kind(claims: Entry) -> None:
    if stat.S_IFMT(claims.unix_mode) not in (0, stat.S_IFREG):
        raise InvalidArchiveError(
            "the entry is a link, device or pipe; expected a plain file", reason=Reason.UNSAFE_PATH
        )
    if claims.flags & FLAGS_ENCRYPTED:
        raise InvalidArchiveError("the entry is encrypted; send it without a password", reason=Reason.ENCRYPTED)
    if claims.method not in (STORED, DEFLATED):
        known = METHOD_NAMES.get(claims.method, "unknown")
        raise InvalidArchiveError(
            f"the entry is compressed by method {claims.method} ({known}); expected 0 (stored) or 8 (deflated)"
        )
