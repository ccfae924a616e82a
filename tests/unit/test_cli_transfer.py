"""Files on their way to an upload, against a real server that gives prepared answers."""

import io
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from werkzeug.formparser import FormDataParser

from api.cli import client as client_module
from api.cli.client import Client
from api.cli.collect import BATCH_BYTES, LocalFile, collect_files, in_batches, is_zip
from api.cli.errors import ApiError, ChangedFileError
from api.cli.multipart import MultipartBody
from api.cli.transfer import Transfer
from tests.canned_server import PROBLEM, Answer, Asked, CannedServer, canned_server

UPLOAD = "POST /api/v1/uploads/u1"
MISSING = "POST /api/v1/uploads/u1/missing"


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def outcomes(*values: str) -> dict[str, object]:
    return {"files": [{"name": str(index), "outcome": value} for index, value in enumerate(values)]}


def parts(asked: Asked) -> dict[str, bytes]:
    """The files of a multipart request, as a parser that is not ours reads them."""
    boundary = asked.headers["Content-Type"].partition("boundary=")[2]
    _, _, files = FormDataParser().parse(
        io.BytesIO(asked.body), "multipart/form-data", len(asked.body), {"boundary": boundary}
    )
    found = {}
    for part in files.getlist("files"):
        found[part.filename] = part.read()
        part.close()
    return found


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with canned_server() as running:
        yield running


@pytest.fixture
def progress() -> list[int]:
    return []


@pytest.fixture
def transfer(server: CannedServer, progress: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Transfer]:
    monkeypatch.setattr(client_module, "LONGEST_WAIT_S", 0.01)
    with Client(server.url, "secret") as client:
        yield Transfer(client, "u1", progress.append)


def write(folder: Path, **contents: bytes) -> list[LocalFile]:
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return collect_files([folder])


def test_only_missing_bytes_are_sent_and_each_once(
    server: CannedServer, transfer: Transfer, progress: list[int], tmp_path: Path
) -> None:
    files = write(tmp_path, a=b"alpha", b=b"beta", b_again=b"beta", c=b"gamma")
    server.answer(MISSING, Answer({"missing": [digest(b"beta")], "attached": 2}))
    server.answer(UPLOAD, Answer(outcomes("stored")))

    result = transfer.run(files)

    asked, sent = server.asked
    names = {
        digest(data): f"{tmp_path.name}/{name}" for name, data in (("a", b"alpha"), ("b", b"beta"), ("c", b"gamma"))
    }
    assert json.loads(asked.body) == {"sha256": list(names), "names": names}
    assert parts(sent) == {f"{tmp_path.name}/b": b"beta"}
    assert (result.stored, result.duplicate, result.rejected) == (1, 3, [])
    assert sum(progress) == sum(file.size_bytes for file in files)


def test_nothing_is_sent_when_the_server_has_everything(
    server: CannedServer, transfer: Transfer, tmp_path: Path
) -> None:
    files = write(tmp_path, a=b"alpha")
    server.answer(MISSING, Answer({"missing": [], "attached": 1}))

    result = transfer.run(files)

    assert server.paths() == [MISSING]
    assert (result.stored, result.duplicate) == (0, 1)


def test_batch_is_asked_about_again_when_its_answer_was_lost(
    server: CannedServer, transfer: Transfer, progress: list[int], tmp_path: Path
) -> None:
    files = write(tmp_path, a=b"alpha", b=b"beta")
    both, one = [digest(b"alpha"), digest(b"beta")], [digest(b"beta")]
    server.answer(MISSING, Answer({"missing": both}), Answer({"missing": one}))
    server.answer(UPLOAD, Answer(breaks=True), Answer(outcomes("stored")))

    result = transfer.run(files)

    assert server.paths() == [MISSING, UPLOAD, MISSING, UPLOAD]
    assert list(parts(server.asked[-1])) == [f"{tmp_path.name}/b"]
    assert (result.stored, result.duplicate) == (2, 0)
    assert sum(progress) == len(b"alpha") + len(b"beta")


def test_file_that_the_upload_refused_before_is_rejected_again(server: CannedServer, tmp_path: Path) -> None:
    files = write(tmp_path, a=b"alpha", b=b"beta")
    before = {"name": "other", "outcome": "rejected", "sha256": digest(b"beta"), "detail": "no DICOM"}
    server.answer(MISSING, Answer({"missing": []}))

    with Client(server.url, "secret") as client:
        result = Transfer(client, "u1", lambda _: None, {digest(b"beta"): before}).run(files)

    assert (result.stored, result.duplicate) == (0, 1)
    assert result.rejected == [before | {"name": f"{tmp_path.name}/b"}]


def test_zip_goes_whole_and_unasked(server: CannedServer, transfer: Transfer, tmp_path: Path) -> None:
    files = write(tmp_path, z=b"PK\x03\x04 and so on")
    server.answer(UPLOAD, Answer(outcomes("stored", "rejected", "duplicate")))

    result = transfer.run(files)

    assert server.paths() == [UPLOAD]
    assert (result.stored, result.duplicate, len(result.rejected)) == (1, 1, 1)


def test_transfer_ends_with_the_error_when_the_server_refuses_for_good(
    server: CannedServer, transfer: Transfer, tmp_path: Path
) -> None:
    files = write(tmp_path, a=b"alpha")
    server.answer(MISSING, Answer({"missing": [digest(b"alpha")]}))
    server.answer(UPLOAD, Answer({"detail": "no room left"}, 507, PROBLEM))

    with pytest.raises(ApiError, match="no room left"):
        transfer.run(files)


def test_transfer_ends_with_a_word_when_a_file_shrinks(
    server: CannedServer, transfer: Transfer, tmp_path: Path
) -> None:
    (file,) = write(tmp_path, a=b"alpha")
    file.path.write_bytes(b"al")

    with pytest.raises(ChangedFileError, match="became shorter"):
        transfer.run([file])


def test_folders_are_walked_and_hidden_files_left_out_when_collecting(tmp_path: Path) -> None:
    (tmp_path / "study" / ".hidden").mkdir(parents=True)
    for name in ("study/b.dcm", "study/a.dcm", "study/.DS_Store", "study/.hidden/c.dcm", "single.dcm"):
        (tmp_path / name).write_bytes(b"x")

    files = collect_files([tmp_path / "study", tmp_path / "single.dcm", tmp_path / "study" / "a.dcm"])

    assert [file.name for file in files] == ["study/a.dcm", "study/b.dcm", "single.dcm"]


def test_batches_hold_about_32_mb_and_at_most_1000_files() -> None:
    large, small = (LocalFile(Path("f"), "f", size) for size in (BATCH_BYTES - 1, 1))

    sizes = [len(batch) for batch in in_batches([large, small, small, *[small] * 1500])]

    assert sizes == [2, 1000, 501]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"PK\x03\x04", True),
        (b"PK\x05\x06", True),
        (b"PK\x03\x04".ljust(128, b"\0") + b"DICM", False),
        (b"\0" * 128 + b"DICM", False),
        (b"", False),
    ],
)
def test_zip_is_told_from_dicom_by_its_first_bytes(tmp_path: Path, start: bytes, expected: bool) -> None:
    path = tmp_path / "f"
    path.write_bytes(start)

    assert is_zip(path) is expected


def test_name_cannot_break_out_of_its_header(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"data\r\n--")
    name = 'a"; filename="b\r\nX-Evil: 1\r\n\r\n' + "\udcff.dcm"

    body = MultipartBody([LocalFile(path, name, 8)])
    content = b"".join(body.chunks(lambda _: None))

    assert len(content) == int(body.headers["Content-Length"])
    (sent,) = parts(Asked("POST", "/", body.headers, content)).items()
    # as browsers write them, so the parser gives the quotes back
    assert sent == ('a"; filename="b%0D%0AX-Evil: 1%0D%0A%0D%0A?.dcm', b"data\r\n--")
