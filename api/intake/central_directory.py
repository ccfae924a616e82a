"""A zip's list of entries, walked one by one: counted and bounded before anything of it is believed (arrow 1).

The standard library's ZipFile holds the whole list as objects (some 120 MB for 200,000 entries) before the first
entry can be looked at, and does not see entries that share bytes. Here only the entries' offsets are held, and
count and overlap are known first. Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3.
"""

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from shared.errors import InvalidArchiveError
from shared.reasons import Reason

END = struct.Struct("<4s4H2LH")
END_MAGIC = b"PK\x05\x06"
LOCATOR_64 = struct.Struct("<4sLQL")
LOCATOR_64_MAGIC = b"PK\x06\x07"
END_64 = struct.Struct("<4sQ2H2L4Q")
END_64_MAGIC = b"PK\x06\x06"
ENTRY = struct.Struct("<4s6H3L5H2L")
ENTRY_MAGIC = b"PK\x01\x02"
EXTRA = struct.Struct("<2H")
EXTRA_64_ID = 1
FULL_16 = 0xFFFF
FULL_32 = 0xFFFFFFFF
MAX_COMMENT_BYTES = 0xFFFF
FLAG_UTF8 = 1 << 11


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as the list describes it; every value is a claim."""

    raw_name: bytes
    flags: int
    method: int
    crc32: int
    compressed_bytes: int
    inflated_bytes: int
    header_offset: int
    unix_mode: int

    @property
    def name(self) -> str:
        """The entry's name as text."""
        if self.flags & FLAG_UTF8:
            return self.raw_name.decode("utf-8", errors="replace")
        return self.raw_name.decode("cp437")


@dataclass(frozen=True)
class _End:
    """The end record: where the list stops and what is claimed of it."""

    entries: int
    directory_bytes: int
    directory_offset: int
    position: int


class CentralDirectory:
    """The entries of an open zip; iterate to walk them again, in the list's order, without holding them."""

    def __init__(self, file: BinaryIO, max_entries: int) -> None:
        """Count the entries and note where each begins; raises InvalidArchiveError for a damaged or too long list."""
        self._file = file
        end = _read_end(file)
        self._end = end.position
        self.start = end.position - end.directory_bytes
        # Bytes before the first entry (a self-extracting program) move every offset by as much.
        self._shift = self.start - end.directory_offset
        if self.start < 0 or self._shift < 0:
            raise InvalidArchiveError("the zip's list of entries lies outside the file")
        if end.entries > max_entries:
            raise _too_many(max_entries)
        self._offsets = self._read_offsets(max_entries, end.entries)

    def __iter__(self) -> Iterator[Entry]:
        self._file.seek(self.start)
        position = self.start
        while position < self._end:
            fixed = self._file.read(ENTRY.size)
            if len(fixed) < ENTRY.size or not fixed.startswith(ENTRY_MAGIC):
                raise InvalidArchiveError("the zip's list of entries is damaged")
            values = ENTRY.unpack(fixed)
            name_bytes, extra_bytes, comment_bytes = values[10:13]
            raw_name = self._file.read(name_bytes)
            extra = self._file.read(extra_bytes)
            self._file.read(comment_bytes)
            position += ENTRY.size + name_bytes + extra_bytes + comment_bytes
            if position > self._end:
                raise InvalidArchiveError("the zip's list of entries is damaged")
            yield self._entry(values, raw_name, extra)

    def end_of(self, entry: Entry) -> int:
        """Where the entry's bytes must have ended: at the next entry or the list; raises where two share bytes."""
        after = bisect_right(self._offsets, entry.header_offset)
        if after > 1 and self._offsets[after - 2] == entry.header_offset:
            raise InvalidArchiveError("two entries of the zip share the same bytes")
        return self._offsets[after] if after < len(self._offsets) else self.start

    def _read_offsets(self, max_entries: int, claimed_entries: int) -> "array[int]":
        offsets = array("Q")
        entries = 0
        for entry in self:
            entries += 1
            if entries > max_entries:
                raise _too_many(max_entries)
            if entry.header_offset < self.start:
                offsets.append(entry.header_offset)
        # Writers without zip64 let the count wrap at 65,536.
        if entries != claimed_entries and entries % (FULL_16 + 1) != claimed_entries:
            raise InvalidArchiveError(f"the zip lists {entries} entries but claims {claimed_entries}")
        return array("Q", sorted(offsets))

    def _entry(self, values: tuple[int, ...], raw_name: bytes, extra: bytes) -> Entry:
        flags, method, crc32 = values[3], values[4], values[7]
        inflated, compressed, offset = _widen((values[9], values[8], values[16]), extra)
        return Entry(
            raw_name, flags, method, crc32, compressed, inflated, offset + self._shift, unix_mode=values[15] >> 16
        )


def _too_many(max_entries: int) -> InvalidArchiveError:
    return InvalidArchiveError(
        f"the zip holds more than {max_entries} entries; split it into several", reason=Reason.TOO_MANY_ENTRIES
    )


def _read_end(file: BinaryIO) -> _End:
    size = file.seek(0, 2)
    tail_start = max(0, size - END.size - MAX_COMMENT_BYTES)
    file.seek(tail_start)
    tail = file.read()
    found = tail.rfind(END_MAGIC)
    while found >= 0:
        if len(tail) - found >= END.size:
            values = END.unpack_from(tail, found)
            # Its comment ends the file; otherwise these are bytes that only look like an end record.
            if found + END.size + values[7] == len(tail):
                return _read_end_64(file, values, tail_start + found)
        found = tail.rfind(END_MAGIC, 0, found)
    raise InvalidArchiveError("the file has no zip end record: it was cut short or is not a zip; send it again")


def _read_end_64(file: BinaryIO, values: tuple[int, ...], position: int) -> _End:
    disk, first_disk, _, entries, directory_bytes, offset = values[1:7]
    end_64_position = position - LOCATOR_64.size - END_64.size
    # Looked for always: writers add it from 2 GiB on, while the short record still holds every number.
    if end_64_position >= 0:
        file.seek(end_64_position)
        record = file.read(END_64.size)
        locator = file.read(LOCATOR_64.size)
        if record.startswith(END_64_MAGIC) and locator.startswith(LOCATOR_64_MAGIC):
            disk, first_disk, _, entries, directory_bytes, offset = END_64.unpack(record)[4:]
            position = end_64_position
    if disk or first_disk:
        raise InvalidArchiveError("the zip is one of several volumes; send it as one file")
    return _End(entries, directory_bytes, offset, position)


def _widen(sizes: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Inflated size, compressed size and offset, each from the zip64 extra field where the list has no room."""
    if FULL_32 not in sizes:
        return sizes
    position = 0
    while position + EXTRA.size <= len(extra):
        extra_id, length = EXTRA.unpack_from(extra, position)
        position += EXTRA.size
        if extra_id == EXTRA_64_ID:
            # As many as are there, whatever the field claims.
            held = extra[position : position + length]
            wide = iter(struct.unpack_from(f"<{len(held) // 8}Q", held))
            inflated, compressed, offset = (next(wide, v) if v == FULL_32 else v for v in sizes)
            return inflated, compressed, offset
        position += length
    return sizes
