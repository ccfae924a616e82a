"""A DICOM file as bytes that can be read safely: size, preamble, and a capped inflate, before pydicom sees any."""

import io
import os
import zlib
from pathlib import Path
from typing import BinaryIO

from shared.errors import InvalidDicomError, LimitExceededError, StorageUnavailableError
from shared.reasons import Reason

CHUNK_BYTES = 256 * 1024
_PREAMBLE_BYTES, _HEAD_BYTES = 128, 132
_BIG_READ_BYTES = 64 * 1024
# Real images deflate at most some 50 to 1; past this size, more than this ratio is made to hurt.
_UNSUSPICIOUS_BYTES = 64 * 1024 * 1024
_MAX_INFLATE_RATIO = 250
# PS3.10 leaves the preamble free, so a program (PE, ELF, Mach-O, script) can stand in front of a valid data set.
_PROGRAM_MAGICS = (b"MZ", b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!")

# Where a data set without preamble begins: file meta, directory, identification (PS3.6).
_FIRST_GROUPS = frozenset({0x0002, 0x0004, 0x0008})


class DicomFile(io.BufferedReader):
    """A file whose reads are cut to what is left: pydicom asks for as many bytes as a length field claims."""

    def __init__(self, path: Path, max_file_bytes: int) -> None:
        super().__init__(_open(path), CHUNK_BYTES)
        self.size_bytes = os.fstat(self.fileno()).st_size
        self.is_part10 = self.peek(_HEAD_BYTES)[_PREAMBLE_BYTES:_HEAD_BYTES] == b"DICM"
        try:
            self._check(max_file_bytes)
        except BaseException:
            self.close()
            raise

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most what is left, so that nothing is allocated for a claim."""
        if size is not None and size > _BIG_READ_BYTES:
            size = min(size, max(0, self.size_bytes - self.tell()))
        return super().read(size)

    def _check(self, max_file_bytes: int) -> None:
        if self.size_bytes == 0:
            raise InvalidDicomError("the file is empty; send it again", reason=Reason.EMPTY_FILE)
        if self.size_bytes > max_file_bytes:
            raise LimitExceededError(
                f"the file has {self.size_bytes} bytes; at most {max_file_bytes} are accepted (max_file_bytes)",
                reason=Reason.TOO_LARGE,
            )
        if not self.is_part10 and not self._begins_like_a_data_set():
            # pydicom would read anything as elements, a million of them a megabyte.
            raise InvalidDicomError("the file has no DICM prefix and is no bare data set; expected a PS3.10 file")
        if self.is_part10 and self.peek(_HEAD_BYTES).startswith(_PROGRAM_MAGICS):
            raise InvalidDicomError(
                "the preamble begins like a program; expected zeros or TIFF: clear its 128 bytes if you trust the file",
                reason=Reason.PROGRAM_IN_PREAMBLE,
            )

    def _begins_like_a_data_set(self) -> bool:
        head = self.peek(_HEAD_BYTES)[:2]
        return int.from_bytes(head, "little") in _FIRST_GROUPS or int.from_bytes(head, "big") in _FIRST_GROUPS


def _open(path: Path) -> io.FileIO:
    try:
        return io.FileIO(str(path))  # pydicom joins the name into its texts
    except FileNotFoundError as error:
        raise InvalidDicomError("the stored bytes are gone; send the file again", reason=Reason.BLOB_MISSING) from error
    except OSError as error:
        raise StorageUnavailableError(f"the content store failed: {error.strerror}") from error


def inflate(deflated: BinaryIO, max_inflated_bytes: int) -> io.BytesIO:
    """Inflate a deflated data set (PS3.5 A.5) chunk by chunk, stopping before it outgrows what is allowed."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = io.BytesIO()
    taken_bytes = 0
    while not inflater.eof:
        chunk = inflater.unconsumed_tail
        if not chunk:
            chunk = deflated.read(CHUNK_BYTES)
            taken_bytes += len(chunk)
        inflated.write(_inflate_chunk(inflater, chunk))
        _check_inflated(inflated.tell(), taken_bytes, max_inflated_bytes)
        if not chunk and not inflater.eof:
            raise InvalidDicomError(
                "the deflated data set ends before its end marker; send the file again", reason=Reason.TRUNCATED
            )
    inflated.seek(0)
    return inflated


def _inflate_chunk(inflater: "zlib._Decompress", chunk: bytes) -> bytes:
    try:
        return inflater.decompress(chunk, CHUNK_BYTES) if chunk else inflater.flush()
    except zlib.error as error:
        raise InvalidDicomError("the deflated data set is damaged; send the file again") from error


def _check_inflated(inflated_bytes: int, taken_bytes: int, max_inflated_bytes: int) -> None:
    if inflated_bytes > max_inflated_bytes:
        raise LimitExceededError(
            f"the data set inflates to more than {max_inflated_bytes} bytes (max_inflated_bytes)",
            reason=Reason.INFLATED_TOO_LARGE,
        )
    if inflated_bytes > max(_UNSUSPICIOUS_BYTES, _MAX_INFLATE_RATIO * taken_bytes):
        raise LimitExceededError(
            f"the data set inflates to more than {_MAX_INFLATE_RATIO} times its size; send it without deflation",
            reason=Reason.INFLATED_TOO_LARGE,
        )
