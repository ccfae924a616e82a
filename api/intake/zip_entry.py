"""The bytes of one zip entry: found, inflated and checked, never past what the zip may inflate to (arrow 1)."""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from api.intake.central_directory import CentralDirectory, Entry
from shared.config import MIB, Settings
from shared.errors import InvalidArchiveError
from shared.reasons import Reason

PIECE_BYTES = 256 * 1024
# Blank masks deflate a thousandfold, honestly; a zip that inflates to less than this is never called a bomb.
RATIO_FREE_BYTES = 256 * MIB
LOCAL_HEADER = struct.Struct("<4s5H3L2H")
LOCAL_MAGIC = b"PK\x03\x04"
STORED, DEFLATED = 0, 8


class Budget:
    """What one zip may still inflate to; counts what is really read and really comes out."""

    def __init__(self, settings: Settings) -> None:
        self._max_bytes = settings.max_archive_bytes
        self._ratio = settings.max_archive_ratio
        self._read_bytes = 0
        self._inflated_bytes = 0

    def read(self, count: int) -> None:
        """So many compressed bytes were read."""
        self._read_bytes += count

    def inflated(self, count: int) -> None:
        """So many bytes came out; raises when they are more than the zip may inflate to."""
        self._inflated_bytes += count
        if self._inflated_bytes > self._max_bytes:
            raise self._passed(f"{self._max_bytes} bytes")
        if self._inflated_bytes > max(RATIO_FREE_BYTES, self._ratio * self._read_bytes):
            raise self._passed(f"{self._ratio} times its own size")

    @staticmethod
    def _passed(limit: str) -> InvalidArchiveError:
        return InvalidArchiveError(
            f"the zip inflates to more than {limit}; this entry and those after it were not read",
            reason=Reason.ARCHIVE_TOO_LARGE,
        )


class OpenEntry:
    """One entry and what is needed to read it."""

    def __init__(self, file: BinaryIO, directory: CentralDirectory, entry: Entry, budget: Budget) -> None:
        self.claims = entry
        self._descriptor = file.fileno()
        self._directory = directory
        self._budget = budget

    def pieces(self) -> Iterator[bytes]:
        """The entry's bytes, inflated; raises at the end when size or checksum are not the claimed ones."""
        compressed = self._compressed()
        checksum, size = 0, 0
        for piece in compressed if self.claims.method == STORED else _inflate(compressed):
            self._budget.inflated(len(piece))
            checksum = zlib.crc32(piece, checksum)
            size += len(piece)
            yield piece
        if (size, checksum) != (self.claims.inflated_bytes, self.claims.crc32):
            raise InvalidArchiveError("the entry is damaged: its size or checksum is not the one that the zip states")

    def _compressed(self) -> Iterator[bytes]:
        start = self._data_start()
        end = start + self.claims.compressed_bytes
        if end > self._directory.end_of(self.claims):
            raise InvalidArchiveError("the entry reaches into the one that follows it in the zip")
        for position in range(start, end, PIECE_BYTES):
            data = os.pread(self._descriptor, min(PIECE_BYTES, end - position), position)
            self._budget.read(len(data))
            yield data

    def _data_start(self) -> int:
        position = self.claims.header_offset
        header = b""
        if position < self._directory.start:
            header = os.pread(self._descriptor, LOCAL_HEADER.size, position)
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_MAGIC):
            raise InvalidArchiveError("the entry is not where the zip says")
        name_bytes: int
        extra_bytes: int
        name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)[9:]
        position += LOCAL_HEADER.size
        if os.pread(self._descriptor, name_bytes, position) != self.claims.raw_name:
            raise InvalidArchiveError("the entry has two different names in the zip")
        return position + name_bytes + extra_bytes


def _inflate(compressed: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for data in compressed:
            waiting = data
            while waiting and not inflater.eof:
                yield inflater.decompress(waiting, PIECE_BYTES)
                waiting = inflater.unconsumed_tail
        while not inflater.eof:
            piece = inflater.decompress(b"", PIECE_BYTES)
            if not piece:
                raise InvalidArchiveError("the entry ends before its contents do", reason=Reason.TRUNCATED)
            yield piece
    except zlib.error as error:
        raise InvalidArchiveError("the entry is damaged: its compressed bytes do not inflate") from error
