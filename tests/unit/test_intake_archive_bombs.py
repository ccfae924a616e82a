"""Zips that are too much: counts, totals, ratios, shared bytes and lists that lie, refused at little cost."""

import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from api.intake import zip_entry
from shared.reasons import Reason
from shared.storage import ContentStore
from tests.zip_samples import (
    CENTRAL,
    END,
    MIB,
    NOISE,
    ZipReader,
    end_record,
    make_zip,
    many_zeros,
    million_entries,
    patch,
    reasons,
    zip64_end,
)


@pytest.fixture
def read(tmp_path: Path) -> ZipReader:
    return ZipReader(ContentStore(tmp_path / "store"))


READ_IN_A_PROCESS = """
import pathlib, sys, time
from api.intake.archive import read_archive
from shared.config import Settings
from shared.storage import ContentStore
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
store = ContentStore(pathlib.Path(sys.argv[1]))
with open(sys.argv[2], "rb") as file:
    archive = store.put_file(file)
before = peak()
files = list(read_archive(archive, "a.zip", store, Settings()))
print(*[file.reason for file in files], (peak() - before) // 1024, time.process_time())
"""


def test_entry_is_refused_as_too_large_when_its_real_bytes_pass_the_cap(read: ZipReader) -> None:
    honest = make_zip({"big": bytes(300_000), "good": bytes(100_000)})
    lying = patch(honest, CENTRAL, 24, "<L", 10)

    for data in (honest, lying):
        files = read(data, max_file_bytes=200_000)

        assert reasons(files) == {"big": Reason.TOO_LARGE, "good": None}


def test_archive_inflates_nothing_when_a_forty_kilobyte_bomb_shares_one_kernel(read: ZipReader) -> None:
    bomb = many_zeros(100, 41 * MIB, shared=True)

    begin_s = time.process_time()
    files = read(bomb)

    assert len(bomb) < 50_000
    assert len(files) == 100
    assert set(reasons(files).values()) == {Reason.INVALID_ARCHIVE}
    assert time.process_time() - begin_s < 1


def test_archive_stops_early_when_four_megabytes_inflate_to_four_gigabytes(read: ZipReader) -> None:
    bomb = many_zeros(100, 41 * MIB, shared=False)

    files = read(bomb)

    assert len(bomb) < 5_000_000
    assert len(files) == 7
    assert files["0006"].reason is Reason.ARCHIVE_TOO_LARGE


def test_entry_is_refused_when_it_swallows_the_next_header(read: ZipReader) -> None:
    """The quoted overlap of the best known non-recursive bomb: one entry's bytes hold the next entry whole."""
    inner = make_zip({"b": NOISE}, zipfile.ZIP_STORED)
    local_b = inner[: inner.index(CENTRAL)]
    outer = make_zip({"a": local_b}, zipfile.ZIP_STORED)
    start, end = outer.index(CENTRAL), outer.index(END)
    central_b = bytearray(inner[inner.index(CENTRAL) : inner.index(END)])
    struct.pack_into("<L", central_b, 42, outer.index(local_b))
    central = outer[start:end] + central_b
    data = outer[:start] + central + end_record(2, len(central), start)

    files = read(data)

    assert reasons(files) == {"a": Reason.INVALID_ARCHIVE, "b": None}


def test_archive_stops_when_it_inflates_past_its_total(read: ZipReader) -> None:
    files = read(make_zip({"a": NOISE, "b": NOISE, "c": NOISE}), max_archive_bytes=250_000)

    assert reasons(files) == {"a": None, "b": None, "c": Reason.ARCHIVE_TOO_LARGE}
    assert "250000 bytes" in files["c"].detail


def test_archive_stops_when_it_inflates_past_its_ratio(read: ZipReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_entry, "RATIO_FREE_BYTES", MIB)

    files = read(make_zip({"image": NOISE * 20, "bomb": bytes(90 * MIB), "after": b"x"}), max_archive_ratio=20)

    assert reasons(files) == {"image": None, "bomb": Reason.ARCHIVE_TOO_LARGE}
    assert "20 times" in files["bomb"].detail


@pytest.mark.parametrize("data", [b"PK\x03\x04", b"", b"PK\x05\x06" + bytes(17), NOISE, make_zip({"a": NOISE})[:-30]])
def test_archive_is_refused_as_invalid_when_it_has_no_end_record(read: ZipReader, data: bytes) -> None:
    files = read(data, name="a.zip")

    assert reasons(files) == {"a.zip": Reason.INVALID_ARCHIVE}


@pytest.mark.parametrize(
    ("magic", "offset", "layout", "value"),
    [
        (END, 12, "<L", 0xFFFFFF),
        (END, 12, "<L", 60),
        (END, 16, "<L", 0xFFFFFF),
        (END, 10, "<H", 7),
        (END, 4, "<H", 3),
        (CENTRAL, 0, "<B", 0),
        (CENTRAL, 28, "<H", 0xFFFF),
    ],
    ids=["size", "smaller size", "offset", "count", "volume", "entry magic", "name length"],
)
def test_archive_is_refused_as_invalid_when_its_list_is_damaged(
    read: ZipReader, magic: bytes, offset: int, layout: str, value: int
) -> None:
    data = patch(make_zip({"a": NOISE, "b": NOISE}), magic, offset, layout, value)

    files = read(data, name="a.zip")

    assert reasons(files) == {"a.zip": Reason.INVALID_ARCHIVE}


def test_archive_is_refused_as_invalid_when_its_last_entry_swallows_the_end(read: ZipReader) -> None:
    data = patch(make_zip({"a": NOISE}), CENTRAL, 32, "<H", 5)

    files = read(data, name="a.zip")

    assert reasons(files) == {"a.zip": Reason.INVALID_ARCHIVE}


@pytest.mark.parametrize("claimed", [None, 1], ids=["true count", "lying count"])
def test_archive_is_refused_in_little_memory_when_it_has_a_million_entries(tmp_path: Path, claimed: int | None) -> None:
    million_entries(tmp_path / "million.zip", claimed)
    command = [sys.executable, "-c", READ_IN_A_PROCESS, str(tmp_path / "store"), str(tmp_path / "million.zip")]

    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    reason, grown_mib, cpu_s = answer
    assert reason == Reason.TOO_MANY_ENTRIES
    assert int(grown_mib) < 16
    assert float(cpu_s) < 5


def test_archive_is_refused_when_it_only_claims_a_million_entries(read: ZipReader) -> None:
    data = make_zip({"a": b"x"})
    start, end = data.index(CENTRAL), data.index(END)

    files = read(data[:end] + zip64_end(10**6, end - start, start), name="a.zip")

    assert reasons(files) == {"a.zip": Reason.TOO_MANY_ENTRIES}


def test_archive_is_read_when_it_has_as_many_entries_as_are_accepted(read: ZipReader) -> None:
    data = make_zip({"a": b"x", "b": b"y"})

    assert reasons(read(data, max_archive_entries=2)) == {"a": None, "b": None}
    assert reasons(read(data, max_archive_entries=1)) == {"": Reason.TOO_MANY_ENTRIES}
