"""Zips from outside: every honest file comes out, and a bad entry is refused by itself."""

import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.intake.archive import read_archive
from shared.config import Settings
from shared.errors import StorageFullError
from shared.reasons import Reason
from shared.storage import ContentStore
from tests.zip_samples import (
    CENTRAL,
    END,
    LOCAL,
    MIB,
    NOISE,
    ZipReader,
    contents,
    end_record,
    make_zip,
    patch,
    reasons,
    temporary_files,
    zip64_end,
)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


@pytest.fixture
def read(store: ContentStore) -> ZipReader:
    return ZipReader(store)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive_yields_every_file_when_it_is_honest(read: ZipReader, method: int) -> None:
    entries = {"a/IM0001": NOISE, "a/ü 東.dcm": b"tiny", "b/zeros": bytes(3 * MIB)}

    files = read(make_zip(entries, method))

    assert contents(files) == entries


def test_archive_names_its_files_after_itself_when_it_has_a_name(read: ZipReader) -> None:
    files = read(make_zip({"IM\x1b[2J1": b"a", "x" * 10_000: b"b"}), name="disc 1.zip")

    assert next(iter(files)) == "disc 1.zip/IM[2J1"
    assert [len(name) for name in files] == [17, 255]


def test_archive_reads_names_as_code_page_437_when_they_are_not_flagged_utf8(read: ZipReader) -> None:
    data = make_zip({"cafX": b"x"}).replace(b"cafX", b"caf\x82")

    files = read(data)

    assert list(files) == ["café"]


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    entries=st.dictionaries(
        st.text("abcdé/", min_size=1, max_size=8).filter(lambda n: not n.startswith("/") and not n.endswith("/")),
        st.binary(min_size=1, max_size=200).map(lambda data: b"-" + data * 40),
        min_size=1,
        max_size=5,
    ),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    prefix=st.binary(max_size=40),
    comment=st.binary(max_size=40),
)
def test_archive_agrees_with_zipfile_when_it_has_prefix_and_comment(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, bytes], method: int, prefix: bytes, comment: bytes
) -> None:
    buffer = io.BytesIO(prefix)
    buffer.seek(0, 2)
    with zipfile.ZipFile(buffer, "a", method) as archive:
        archive.comment = comment
        for name, data in entries.items():
            archive.writestr(name, data)
    store = ContentStore(tmp_path_factory.mktemp("store"))

    files = list(read_archive(store.put_file(io.BytesIO(buffer.getvalue())), "", store, Settings()))

    assert {file.name: file.blob.path.read_bytes() for file in files if file.blob} == entries


def test_archive_yields_its_file_when_it_is_zip64(read: ZipReader) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("big", "w", force_zip64=True) as entry:
        entry.write(NOISE)
    data = buffer.getvalue()
    end = data.index(END)
    entries, _, directory_bytes, offset = struct.unpack_from("<2H2L", data, end + 8)

    files = read(data[:end] + zip64_end(entries, directory_bytes, offset))

    assert contents(files) == {"big": NOISE}


def test_archive_yields_its_file_when_sizes_stand_in_zip64_extra_fields(read: ZipReader) -> None:
    data = make_zip({"a": NOISE}, zipfile.ZIP_STORED)
    start, end = data.index(CENTRAL), data.index(END)
    extra = struct.pack("<2H3Q", 1, 24, len(NOISE), len(NOISE), 0)
    central = bytearray(data[start:end])
    struct.pack_into("<2L", central, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", central, 30, len(extra))
    struct.pack_into("<L", central, 42, 0xFFFFFFFF)
    changed = data[:start] + central + extra + data[end:]

    files = read(patch(changed, END, 12, "<L", len(central) + len(extra)))

    assert contents(files) == {"a": NOISE}


def test_archive_yields_every_file_when_its_list_is_in_another_order(read: ZipReader) -> None:
    data = make_zip({"a": NOISE, "b": b"fine"})
    first, second, end = data.index(CENTRAL), data.rindex(CENTRAL), data.index(END)

    files = read(data[:first] + data[second:end] + data[first:second] + data[end:])

    assert contents(files) == {"b": b"fine", "a": NOISE}


def test_archive_yields_its_file_when_its_comment_looks_like_an_end_record(read: ZipReader) -> None:
    comment = end_record(7, 0, 0) + b" "
    data = make_zip({"a": NOISE})

    files = read(patch(data, END, 20, "<H", len(comment)) + comment)

    assert contents(files) == {"a": NOISE}


def test_archive_skips_directories_and_what_file_managers_leave(read: ZipReader) -> None:
    left_behind = ["d/", "__MACOSX/d/._a", "d/.DS_Store", "d/._b", "Thumbs.db", "d/desktop.ini"]

    files = read(make_zip(dict.fromkeys(left_behind, b"") | {"d/a": b"x"}))

    assert list(files) == ["d/a"]


@pytest.mark.parametrize("entries", [{}, {"folder/": b""}])
def test_archive_is_refused_as_empty_when_it_names_no_files(read: ZipReader, entries: dict[str, bytes]) -> None:
    files = read(make_zip(entries), name="a.zip")

    assert reasons(files) == {"a.zip": Reason.EMPTY_FILE}


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../../x", "a/../../x", "..\\..\\x", "a\\b", "C:/x", "c:x", "//host/share/x", "a/..", "../x/"],
)
def test_entry_is_refused_as_unsafe_when_its_name_leaves_the_archive(
    read: ZipReader, tmp_path: Path, name: str
) -> None:
    files = read(make_zip({name: b"evil", "good": b"fine"}))

    assert reasons(files) == {name: Reason.UNSAFE_PATH, "good": None}
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]


def test_entry_is_refused_as_unsafe_when_its_name_holds_nul(read: ZipReader) -> None:
    data = make_zip({"good": b"fine", "aXb": b"evil"}).replace(b"aXb", b"a\0b")

    files = read(data)

    assert reasons(files) == {"good": None, "ab": Reason.UNSAFE_PATH}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_entry_is_refused_as_unsafe_when_it_is_no_plain_file(read: ZipReader, kind: int) -> None:
    def change(info: zipfile.ZipInfo) -> None:
        info.external_attr = (kind | 0o777) << 16 if info.filename == "link" else 0

    files = read(make_zip({"link": b"/etc/passwd", "good": b"fine"}, change=change))

    assert reasons(files) == {"link": Reason.UNSAFE_PATH, "good": None}


@pytest.mark.parametrize("flags", [1, 1 << 6, 1 << 13])
def test_entry_is_refused_as_encrypted_when_flagged(read: ZipReader, flags: int) -> None:
    data = patch(make_zip({"secret": NOISE, "good": b"fine"}), CENTRAL, 8, "<H", flags)

    files = read(data)

    assert reasons(files) == {"secret": Reason.ENCRYPTED, "good": None}


@pytest.mark.parametrize("inner", [make_zip({"x": b"y"}), make_zip({})])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_entry_is_refused_as_nested_when_it_is_a_zip(read: ZipReader, inner: bytes, method: int) -> None:
    files = read(make_zip({"image.dcm": inner, "really.zip": b"no zip at all"}, method))

    assert reasons(files) == {"image.dcm": Reason.NESTED_ARCHIVE, "really.zip": None}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_entry_is_refused_with_its_method_when_not_deflated(read: ZipReader, method: int) -> None:
    files = read(make_zip({"a": NOISE}, method))

    assert reasons(files) == {"a": Reason.INVALID_ARCHIVE}
    assert f"method {method} " in files["a"].detail


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [(16, "<L", 1), (24, "<L", 99_999), (24, "<L", 4_000_000_000)],
    ids=["checksum", "smaller", "larger"],
)
def test_entry_is_refused_when_its_checksum_or_size_is_not_true(
    read: ZipReader, offset: int, layout: str, value: int
) -> None:
    data = patch(make_zip({"bad": NOISE, "good": b"fine"}), CENTRAL, offset, layout, value)

    files = read(data)

    assert reasons(files) == {"bad": Reason.INVALID_ARCHIVE, "good": None}


def test_entry_is_refused_when_its_compressed_bytes_are_damaged(read: ZipReader) -> None:
    data = bytearray(make_zip({"bad": bytes(range(256)) * 100, "good": b"fine"}))
    data[data.index(b"bad") + 3] = 0xFF

    files = read(bytes(data))

    assert reasons(files) == {"bad": Reason.INVALID_ARCHIVE, "good": None}


def test_entry_is_refused_as_truncated_when_its_stream_never_ends(read: ZipReader) -> None:
    data = patch(make_zip({"short": NOISE, "good": b"fine"}), CENTRAL, 20, "<L", 50_000)

    files = read(data)

    assert reasons(files) == {"short": Reason.TRUNCATED, "good": None}


def test_entry_is_refused_when_its_place_is_past_every_file(read: ZipReader) -> None:
    data = make_zip({"far": NOISE})
    start, end = data.index(CENTRAL), data.index(END)
    extra = struct.pack("<2HQ", 1, 8, 2**64 - 1)
    central = bytearray(data[start:end])
    struct.pack_into("<H", central, 30, len(extra))
    struct.pack_into("<L", central, 42, 0xFFFFFFFF)
    prefix = b"moves every place"

    files = read(prefix + data[:start] + central + extra + end_record(1, len(central) + len(extra), start))

    assert reasons(files) == {"far": Reason.INVALID_ARCHIVE}


@pytest.mark.parametrize(("magic", "offset"), [(LOCAL, 0), (LOCAL, 30), (CENTRAL, 42)], ids=["magic", "name", "place"])
def test_entry_is_refused_when_it_is_not_where_the_list_says(read: ZipReader, magic: bytes, offset: int) -> None:
    data = patch(make_zip({"bad": NOISE, "good": b"fine"}), magic, offset, "<B", 0x21)

    files = read(data)

    assert reasons(files) == {"bad": Reason.INVALID_ARCHIVE, "good": None}


def test_nothing_remains_when_reading_is_closed_early(tmp_path: Path, store: ContentStore) -> None:
    archive = store.put_file(io.BytesIO(make_zip({"a": NOISE, "b": NOISE})))
    files = read_archive(archive, "", store, Settings(data_dir=tmp_path))

    first = next(files)
    files.close()

    assert temporary_files(store) == {first.blob.path if first.blob else None}


def test_nothing_remains_when_the_disk_fills_within_an_entry(
    tmp_path: Path, store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([10 * MIB, 10 * MIB, 10 * MIB, 0])
    archive = store.put_file(io.BytesIO(make_zip({"a": bytes(2 * MIB)})))
    monkeypatch.setattr(store, "free_bytes", lambda: next(free))

    with pytest.raises(StorageFullError):
        list(read_archive(archive, "", store, Settings(data_dir=tmp_path, min_free_bytes=MIB)))

    assert temporary_files(store) == set()


def test_entry_is_read_whole_when_output_outlasts_the_compressed_bytes(read: ZipReader) -> None:
    """The last input byte may stand for more than one piece of output."""
    sizes = [256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 2 * 256 * 1024 + 257]

    files = read(make_zip({str(size): bytes(size) for size in sizes}))

    assert {name: (len(data), zlib.crc32(data)) for name, data in contents(files).items()} == {
        str(size): (size, zlib.crc32(bytes(size))) for size in sizes
    }


def test_archive_names_the_fault_when_a_zip64_field_claims_more_than_it_holds(read: ZipReader) -> None:
    archive = bytearray(make_zip({"a.dcm": NOISE}))
    entry = archive.rindex(b"PK\x01\x02")
    name_end = entry + 46 + len("a.dcm")
    # The list says: sizes stand in the extra field; the field says 24 bytes and has 8.
    struct.pack_into("<II", archive, entry + 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", archive, entry + 30, 12)
    archive[name_end:name_end] = struct.pack("<HHQ", 1, 24, len(NOISE))
    end = archive.rindex(b"PK\x05\x06")
    struct.pack_into("<I", archive, end + 12, end - entry)

    files = read(bytes(archive))

    assert all(file.reason is not None for file in files.values())


def test_archive_is_read_when_its_zip64_end_record_was_not_needed(
    read: ZipReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As Python writes a zip between 2 and 4 GiB, without the gigabytes.
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    archive = make_zip({"a.dcm": NOISE, "b.dcm": b"tiny"})

    files = read(archive)

    assert b"PK\x06\x06" in archive
    assert contents(files) == {"a.dcm": NOISE, "b.dcm": b"tiny"}
