"""Content store: bytes under the name of their sha256, written once, never overwritten."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from shared.errors import StorageFullError, StorageUnavailableError

CHUNK_BYTES = 1024 * 1024
# The blobs lie in folders named after the first two of their name's 64 hexadecimal digits.
FOLDERS = tuple(f"{number:02x}" for number in range(256))
_NAME = re.compile(r"[0-9a-f]{64}")


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError("the content store has no room left; free some disk and send it again") from error
        raise StorageUnavailableError(f"the content store failed: {error.strerror}") from error


@dataclass(frozen=True)
class SpooledBlob:
    """Bytes on the store's disk, hashed, not yet named: keep with `ContentStore.keep` or drop."""

    path: Path
    sha256: str
    size_bytes: int

    def drop(self) -> None:
        """Forget the bytes; doing it twice is fine."""
        self.path.unlink(missing_ok=True)


class Spool:
    """Takes bytes as they arrive, hashing them on the way to a temporary file of the store."""

    def __init__(self, folder: Path) -> None:
        with _storage_errors():
            descriptor, name = tempfile.mkstemp(prefix="in-", dir=folder)
        self.path = Path(name)
        self.size_bytes = 0
        self._file: BinaryIO = os.fdopen(descriptor, "wb", buffering=0)
        self._hash = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        """Append; raises StorageFullError when the disk is full."""
        with _storage_errors():
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        self._hash.update(data)
        self.size_bytes += len(data)

    def finish(self) -> SpooledBlob:
        """Close the file and say what arrived; where that fails, nothing is left."""
        try:
            with _storage_errors():
                self._file.close()
        except BaseException:
            self.abandon()
            raise
        return SpooledBlob(self.path, self._hash.hexdigest(), self.size_bytes)

    def abandon(self) -> None:
        """Close and remove the file; a full disk may show only when it is closed, and it goes all the same."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abandon()


class ContentStore:
    """A folder of blobs: `<root>/blobs/ab/abcdef...`; `<root>/tmp` is on the same disk, so that rename is atomic."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs"
        self._tmp = root / "tmp"
        with _storage_errors():
            for folder in (self._blobs, self._tmp):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, sha256: str) -> Path:
        """Where the blob of this digest lies or would lie."""
        return self._blobs / sha256[:2] / sha256

    def exists(self, sha256: str) -> bool:
        """True when the bytes are here."""
        return self.path(sha256).exists()

    def require(self, digests: Iterable[str]) -> None:
        """Raise StorageUnavailableError unless all are here; call it under `lock_index`, before their rows are made.

        A blob that lay in the store without a row may have been swept after somebody found or stored it.
        """
        if not all(self.exists(sha256) for sha256 in digests):
            raise StorageUnavailableError("stored bytes were removed before they were indexed; send this again")

    def is_whole(self, sha256: str) -> bool:
        """True when the bytes are here and are the ones that the name promises; reads them."""
        try:
            with self.path(sha256).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            return False

    def set_aside(self, sha256: str) -> None:
        """Take damaged bytes out of the way, kept for a person to look at, so that good ones can be stored again."""
        with _storage_errors():
            folder = self.root / "damaged"
            folder.mkdir(exist_ok=True, mode=0o700)
            with contextlib.suppress(FileNotFoundError):
                self.path(sha256).replace(folder / sha256)

    def spool(self) -> Spool:
        """Begin to take bytes."""
        return Spool(self._tmp)

    def keep(self, blob: SpooledBlob) -> Path:
        """As `keep_all`, of one; where it lies now."""
        self.keep_all([blob])
        return self.path(blob.sha256)

    def keep_all(self, blobs: Iterable[SpooledBlob]) -> None:
        """Make the spooled bytes durable under their digests: fsync, rename, fsync of the folders; idempotent.

        Many together: what the disk's journal has to write for one of them it then has for all.

        A file counts as new again also where the bytes were there: the caller is about to make a row for them, and
        young files are not swept. To be sure, look whether they are still there once `lock_index` is held.
        """
        with _storage_errors():
            targets = {}
            for blob in blobs:
                target = self.path(blob.sha256)
                if self._is_whole_and_young(target, blob.sha256):
                    blob.drop()
                else:
                    targets[blob.path] = target
            for spooled, target in targets.items():
                if not target.parent.exists():
                    target.parent.mkdir(exist_ok=True, mode=0o700)
                    self._sync(self._blobs)
                os.utime(spooled)
                self._sync(spooled)
            for spooled, target in targets.items():
                spooled.replace(target)
            for folder in {target.parent for target in targets.values()}:
                self._sync(folder)

    def _is_whole_and_young(self, target: Path, sha256: str) -> bool:
        """Touch the bytes, if they are here, and then look: what is swept is older than a look takes."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(target)
            return self.is_whole(sha256)
        return False

    def put(self, data: bytes) -> SpooledBlob:
        """Store small bytes at once, durably."""
        with self.spool() as spool:
            spool.write(data)
        return self._kept(spool.finish())

    def put_path(self, path: Path) -> SpooledBlob:
        """Store a copy of a file that nobody changes, durably."""
        with path.open("rb") as source:
            return self._kept(self.put_file(source))

    def _kept(self, blob: SpooledBlob) -> SpooledBlob:
        try:
            self.keep(blob)
        finally:
            blob.drop()
        return blob

    def put_file(self, source: BinaryIO) -> SpooledBlob:
        """Spool a whole readable file, hashing it; the caller keeps or drops it."""
        with self.spool() as spool:
            while chunk := source.read(CHUNK_BYTES):
                spool.write(chunk)
        return spool.finish()

    def room(self) -> tuple[int, int]:
        """Bytes that are free on the store's disk, and bytes that it has in all."""
        with _storage_errors():
            usage = shutil.disk_usage(self.root)
        return usage.free, usage.total

    def free_bytes(self) -> int:
        """Room left on the store's disk."""
        return self.room()[0]

    def require_room(self, min_free_bytes: int) -> None:
        """Raise StorageFullError when less is free than must stay free."""
        free_bytes = self.free_bytes()
        if free_bytes < min_free_bytes:
            raise StorageFullError(
                f"{free_bytes} bytes of disk are free, less than the {min_free_bytes} that must stay free; "
                "free some and send it again"
            )

    def old_blobs(self, folder: str, older_than_s: float) -> list[str]:
        """The digests of one of FOLDERS' blobs that were last kept or touched so long ago."""
        with _storage_errors(), contextlib.suppress(FileNotFoundError), os.scandir(self._blobs / folder) as entries:
            return [
                name for entry in entries if _NAME.fullmatch(name := entry.name) and self.is_old(name, older_than_s)
            ]
        return []

    def is_old(self, sha256: str, older_than_s: float) -> bool:
        """True when the blob is here and was last kept or touched so long ago."""
        with _storage_errors(), contextlib.suppress(FileNotFoundError):
            return time.time() - self.path(sha256).stat().st_mtime > older_than_s
        return False

    def remove(self, sha256: str) -> None:
        """Remove a blob; only under `lock_index`, and only one that no row names."""
        with _storage_errors():
            self.path(sha256).unlink(missing_ok=True)

    def sweep(self, older_than_s: float, now_s: float) -> int:
        """Remove temporary files that no living request can own any more; returns how many."""
        removed = 0
        with _storage_errors():
            for path in self._tmp.iterdir():
                with contextlib.suppress(FileNotFoundError):  # its request ended meanwhile
                    if now_s - path.stat().st_mtime > older_than_s:
                        path.unlink()
                        removed += 1
        return removed

    @staticmethod
    def _sync(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
