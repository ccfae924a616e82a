"""Bodies of every accepted type, whole, broken or too much: what is complete comes out, nothing is left behind."""

import io
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn.http.errors import ChunkMissingTerminator, NoMoreData
from werkzeug.exceptions import ClientDisconnected

from api.intake.receive import receive
from shared.config import Settings
from shared.errors import StorageFullError, UnsupportedMediaTypeError
from shared.reasons import Reason
from shared.storage import ContentStore
from tests.body_samples import CLOSE, FIELD, FORM, PART, Chunks, contents, form, take
from tests.zip_samples import MIB, NOISE, make_zip, reasons, temporary_files


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


@pytest.mark.parametrize("content_type", ["application/dicom", "application/octet-stream", "Application/DICOM; x=y"])
def test_receive_yields_one_file_when_the_body_is_one(store: ContentStore, content_type: str) -> None:
    files, error = take(store, NOISE, content_type)

    assert error is None
    assert contents(files) == [("", NOISE)]


@pytest.mark.parametrize(
    "content_type", ["application/zip", "application/x-zip-compressed", "application/octet-stream", "application/dicom"]
)
def test_receive_yields_the_entries_when_the_body_is_a_zip(store: ContentStore, content_type: str) -> None:
    files, error = take(store, make_zip({"a/1": b"one", "a/2": b"two"}), content_type)

    assert error is None
    assert contents(files) == [("a/1", b"one"), ("a/2", b"two")]


def test_receive_yields_the_entries_when_a_zip_comes_byte_by_byte(store: ContentStore) -> None:
    body = Chunks([bytes([byte]) for byte in make_zip({"a": b"one"})])

    files, error = take(store, body, "application/octet-stream")

    assert error is None
    assert contents(files) == [("a", b"one")]


def test_receive_refuses_the_archive_when_a_declared_zip_is_none(store: ContentStore) -> None:
    files, _ = take(store, NOISE, "application/zip")

    assert [file.reason for file in files] == [Reason.INVALID_ARCHIVE]


def test_receive_yields_files_and_entries_when_a_form_mixes_them(store: ContentStore) -> None:
    body = form({"a.zip": NOISE, "b.dcm": make_zip({"x": b"1", "y": b"2"}), "c": b"PK", "d.zip": make_zip({"z": b"3"})})

    files, error = take(store, FIELD % b"nightly" + body, FORM)

    assert error is None
    assert contents(files) == [
        ("a.zip", NOISE),
        ("b.dcm/x", b"1"),
        ("b.dcm/y", b"2"),
        ("c", b"PK"),
        ("d.zip/z", b"3"),
    ]


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/html",
        "application/json",
        'multipart/related; type="text/xml"; boundary=a',
        "multipart/mixed; boundary=a",
    ],
)
def test_receive_refuses_at_once_when_the_media_type_is_another(store: ContentStore, content_type: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match="expected multipart/form-data"):
        receive(io.BytesIO(b"x"), content_type, store, Settings(data_dir=store.root))


@pytest.mark.parametrize(
    "failure",
    [ClientDisconnected(), ConnectionResetError(), TimeoutError(), NoMoreData(), ChunkMissingTerminator(b"")],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("content_type", [FORM, "application/dicom", "application/zip"])
def test_receive_says_ended_early_when_the_connection_fails(
    store: ContentStore, failure: Exception, content_type: str
) -> None:
    body = PART % (b"a", b"one") + PART % (b"b", b"two")

    files, error = take(store, Chunks([body, failure]), content_type)

    assert contents(files) == ([("a", b"one")] if content_type == FORM else [])
    assert "ended early" in str(error)


@pytest.mark.parametrize("content_type", ["application/dicom", "application/zip"])
def test_receive_says_ended_early_when_fewer_bytes_came_than_announced(store: ContentStore, content_type: str) -> None:
    body = make_zip({"a": b"x"})

    files, error = take(store, body, content_type, expected_bytes=len(body) + 1)

    assert files == []
    assert f"after {len(body)} bytes of the {len(body) + 1} announced" in str(error)


def test_receive_refuses_one_file_when_it_is_too_large(store: ContentStore) -> None:
    body = form({"a": NOISE, "b": NOISE * 20, "c": NOISE[:-1], "d.zip": make_zip({"e": NOISE + b"x", "f": NOISE})})

    files, error = take(store, body, FORM, max_file_bytes=len(NOISE))

    assert error is None
    assert reasons({file.name: file for file in files}) == {
        "a": None,
        "b": Reason.TOO_LARGE,
        "c": None,
        "d.zip/e": Reason.TOO_LARGE,
        "d.zip/f": None,
    }


def test_receive_writes_no_more_than_the_cap_when_a_file_is_too_large(store: ContentStore) -> None:
    largest = 0

    def endless() -> Iterator[bytes]:
        nonlocal largest
        for _ in range(200):
            largest = max([largest, *(path.stat().st_size for path in temporary_files(store))])
            yield NOISE

    files, _ = take(store, Chunks(endless()), "application/dicom", max_file_bytes=3 * len(NOISE))

    assert [file.reason for file in files] == [Reason.TOO_LARGE]
    assert largest == 3 * len(NOISE)


def test_receive_refuses_the_archive_when_the_zip_itself_is_too_large(store: ContentStore) -> None:
    body = form({"a.zip": make_zip({"x": NOISE}, zipfile.ZIP_STORED), "b": b"x"})

    files, error = take(store, body, FORM, max_archive_bytes=len(NOISE))

    assert error is None
    assert [(file.name, file.reason) for file in files] == [("a.zip", Reason.ARCHIVE_TOO_LARGE), ("b", None)]


@pytest.mark.parametrize(
    "body", [form({"a": b"1", "b": b"2", "c": b"3"}), form({"z": make_zip(dict.fromkeys("abc", b"1"))})]
)
def test_receive_stops_when_the_request_holds_too_many_files(store: ContentStore, body: bytes) -> None:
    files, error = take(store, body, FORM, max_request_files=2)

    assert len(contents(files)) == 2
    assert "more than 2 files" in str(error)


def test_receive_reads_no_more_parts_that_were_left_empty_than_files(store: ContentStore) -> None:
    left_empty = PART % (b"", b"")

    files, error = take(store, left_empty * 3 + CLOSE, FORM, max_request_files=2)

    assert contents(files) == []
    assert "more than 2 files" in str(error)


@pytest.mark.parametrize("body", [form({"a": b"1", "b": NOISE}), form({"z": make_zip({"a": b"1", "b": NOISE})})])
def test_receive_leaves_nothing_when_it_is_closed_early(store: ContentStore, body: bytes) -> None:
    files = receive(io.BytesIO(body), FORM, store, Settings(data_dir=store.root))

    first = next(files)
    files.close()

    assert first.blob is not None
    assert temporary_files(store) == {first.blob.path}


def test_receive_leaves_nothing_when_the_disk_is_nearly_full(store: ContentStore) -> None:
    too_much = store.free_bytes() * 2
    files = receive(
        io.BytesIO(NOISE), "application/dicom", store, Settings(data_dir=store.root, min_free_bytes=too_much)
    )

    with pytest.raises(StorageFullError, match="must stay free"):
        next(files)

    assert temporary_files(store) == set()


def test_receive_says_nothing_of_names_or_contents_when_it_refuses(store: ContentStore) -> None:
    entries = {"../DOE^JANE": b"x", "DOE^JANE.zip": make_zip({"DOE^JANE": b"x"}), "DOE^JANE": b""}

    files, error = take(store, PART % (b"DOE^JANE.zip", make_zip(entries)) + (PART % (b"DOE^JANE", b"x"))[:-9], FORM)

    assert len(files) == 3
    assert "DOE" not in " ".join([*(file.detail for file in files), str(error)])


RECEIVE_IN_A_PROCESS = """
import pathlib, sys
from api.intake.receive import receive
from shared.config import Settings
from shared.storage import ContentStore
head, close = b'--f\\r\\nContent-Disposition: form-data; name="f"; filename="a.zip"\\r\\n\\r\\n', b"\\r\\n--f--"
class Body:
    def __init__(self, path):
        self.rest, self.file = [head, close], open(path, "rb")
    def read(self, size):
        if len(self.rest) == 2:
            return self.rest.pop(0)
        return self.file.read(size) or (self.rest.pop() if self.rest else b"")
count = 0
store = ContentStore(pathlib.Path(sys.argv[1]))
for file in receive(Body(sys.argv[2]), "multipart/form-data; boundary=f", store, Settings()):
    count += file.blob.size_bytes
    file.drop()
# Not ru_maxrss: that begins with the peak of the process it was forked from.
status = pathlib.Path("/proc/self/status").read_text()
print(count, status.split("VmHWM:")[1].split()[0])
"""


def peak_bytes(folder: Path, entries: int) -> int:
    """Peak memory of a process that receives a zip of so many 16 MiB entries."""
    block = random.Random(5).randbytes(16 * MIB)
    with zipfile.ZipFile(folder / "large.zip", "w") as archive:
        for number in range(entries):
            with archive.open(f"IM{number}", "w") as entry:
                entry.write(block)
    command = [sys.executable, "-c", RECEIVE_IN_A_PROCESS, str(folder / "store"), str(folder / "large.zip")]
    received, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(received) == entries * len(block)
    return int(peak) * 1024


def test_receive_needs_no_more_memory_when_the_zip_is_eight_times_as_large(tmp_path: Path) -> None:
    small, large = peak_bytes(tmp_path, 4), peak_bytes(tmp_path, 32)

    (tmp_path / "large.zip").unlink()
    assert large - small < 20 * MIB
    assert small < 100 * MIB
