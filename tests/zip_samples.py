"""Zips made byte by byte: honest ones, and the tricks that archives are known for."""

import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from api.intake.archive import read_archive
from api.intake.spooling import ReceivedFile
from shared.config import Settings
from shared.reasons import Reason
from shared.storage import ContentStore

MIB = 1024 * 1024
NOISE = random.Random(18).randbytes(100_000)
CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


class ZipReader:
    """Reads zips to their end; afterwards only the yielded blobs may lie in the store."""

    def __init__(self, store: ContentStore) -> None:
        self.store = store

    def __call__(self, data: bytes, name: str = "", **limits: int) -> dict[str, ReceivedFile]:
        before = temporary_files(self.store)
        archive = self.store.put_file(io.BytesIO(data))
        files = list(read_archive(archive, name, self.store, Settings(data_dir=self.store.root, **limits)))
        assert temporary_files(self.store) - before == {file.blob.path for file in files if file.blob}
        assert len({file.name for file in files}) == len(files)
        return {file.name: file for file in files}


def make_zip(
    entries: dict[str, bytes],
    method: int = zipfile.ZIP_DEFLATED,
    change: Callable[[zipfile.ZipInfo], None] | None = None,
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            if change:
                change(info)
            archive.writestr(info, data)
    return buffer.getvalue()


def patch(data: bytes, magic: bytes, offset: int, layout: str, value: int) -> bytes:
    """Overwrite one number of the first record that starts with `magic`."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, data.index(magic) + offset, value)
    return bytes(changed)


def temporary_files(store: ContentStore) -> set[Path]:
    return {path for path in store.root.rglob("*") if path.is_file()}


def contents(files: dict[str, ReceivedFile]) -> dict[str, bytes]:
    return {name: file.blob.path.read_bytes() for name, file in files.items() if file.blob}


def reasons(files: dict[str, ReceivedFile]) -> dict[str, Reason | None]:
    return {name: file.reason for name, file in files.items()}


def end_record(entries: int, directory_bytes: int, offset: int) -> bytes:
    """The record that ends a zip."""
    return struct.pack("<4s4H2LH", END, 0, 0, entries, entries, directory_bytes, offset, 0)


def zip64_end(entries: int, directory_bytes: int, offset: int) -> bytes:
    """The records that end a zip of more than 65,534 entries or 4 GiB."""
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, directory_bytes, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + directory_bytes, 1)
    return wide + locator + end_record(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def many_zeros(count: int, size: int, *, shared: bool) -> bytes:
    """`count` entries of zeros; `shared`: one compressed kernel that every entry points to."""
    data = make_zip({"0000": bytes(size)})
    start, end = data.index(CENTRAL), data.index(END)
    local, listed = data[:start], data[start:end]
    names = [f"{number:04}".encode() for number in range(count)]
    locals_ = local if shared else b"".join(local.replace(b"0000", name) for name in names)
    central = b"".join(
        listed.replace(b"0000", name)[:42] + struct.pack("<L", 0 if shared else len(local) * number) + name
        for number, name in enumerate(names)
    )
    return locals_ + central + end_record(count, len(central), len(locals_))


def million_entries(path: Path, claimed: int | None) -> None:
    """A zip of 1,000,000 entries; `claimed` lies about their number (None: the truth, in zip64)."""
    count, chunk = 1_000_000, 10_000
    entry = struct.pack("<4s6H3L5H2L", CENTRAL, 20, 20, *[0] * 7, 1, *[0] * 6) + b"x"
    with path.open("wb") as file:
        file.write(struct.pack("<4s5H3L2H", LOCAL, 20, *[0] * 7, 1, 0) + b"x")
        start = file.tell()
        for _ in range(count // chunk):
            file.write(entry * chunk)
        directory_bytes = file.tell() - start
        record = zip64_end if claimed is None else end_record
        file.write(record(count if claimed is None else claimed, directory_bytes, start))
