"""Request bodies made byte by byte, and how a test takes the files out of them."""

import io
from collections.abc import Iterable, Iterator

from api.intake.receive import ReceivedFile, receive
from shared.config import Settings
from shared.errors import InvalidRequestError
from shared.storage import ContentStore
from tests.zip_samples import temporary_files

FORM = "multipart/form-data; boundary=frontier"
RELATED = 'multipart/related; type="application/dicom"; boundary="frontier"'
PART = b'--frontier\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
FIELD = b'--frontier\r\nContent-Disposition: form-data; name="label"\r\n\r\n%s\r\n'
WORD = FIELD.replace(b"label", b"csrf")
CLOSE = b"--frontier--\r\n"


class Chunks:
    """A request body that arrives in these pieces; an exception among them is raised in its place."""

    def __init__(self, pieces: Iterable[bytes | Exception]) -> None:
        self._pieces: Iterator[bytes | Exception] = iter(pieces)

    def read(self, size: int) -> bytes:
        piece = next(self._pieces, b"")
        if isinstance(piece, Exception):
            raise piece
        assert len(piece) <= size
        return piece


def take(
    store: ContentStore, body: bytes | Chunks, content_type: str, *, expected_bytes: int | None = None, **limits: int
) -> tuple[list[ReceivedFile], Exception | None]:
    """Receive to the end or the error; only the yielded blobs may lie in the store then."""
    before = temporary_files(store)
    stream = io.BytesIO(body) if isinstance(body, bytes) else body
    settings = Settings(data_dir=store.root, **limits)
    files: list[ReceivedFile] = []
    error = None
    try:
        for file in receive(stream, content_type, store, settings, expected_bytes=expected_bytes):  # type: ignore[arg-type]
            files.append(file)
    except InvalidRequestError as raised:
        error = raised
    assert temporary_files(store) - before == {file.blob.path for file in files if file.blob}
    return files, error


def contents(files: list[ReceivedFile]) -> list[tuple[str, bytes]]:
    return [(file.name, file.blob.path.read_bytes()) for file in files if file.blob]


def form(files: dict[str, bytes]) -> bytes:
    return b"".join(PART % (name.encode(), data) for name, data in files.items()) + CLOSE
