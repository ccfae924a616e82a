"""A multipart/form-data body made as it is sent: one file open at a time, its length known beforehand."""

import secrets
from collections.abc import Callable, Iterator, Sequence

from api.cli.collect import LocalFile
from api.cli.errors import ChangedFileError

CHUNK_BYTES = 256 * 1024
LONGEST_NAME = 255  # characters; of a longer path its end is sent, which says most


class MultipartBody:
    """The files as parts named `files`."""

    def __init__(self, files: Sequence[LocalFile]) -> None:
        boundary = secrets.token_hex(16)
        self._parts = [(_part_head(boundary, file), file) for file in files]
        self._tail = f"--{boundary}--\r\n".encode()
        length = len(self._tail) + sum(len(head) + file.size_bytes + 2 for head, file in self._parts)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(length),
        }

    def chunks(self, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
        """The body; `on_bytes` hears of each chunk of a file. Raises ChangedFileError."""
        for head, file in self._parts:
            yield head
            for chunk in read_file(file):
                yield chunk
                on_bytes(len(chunk))
            yield b"\r\n"
        yield self._tail


def read_file(file: LocalFile) -> Iterator[bytes]:
    """Exactly as many bytes as the file had when it was found; raises ChangedFileError when it has fewer."""
    left = file.size_bytes
    try:
        with file.path.open("rb") as handle:
            while chunk := handle.read(min(CHUNK_BYTES, left)):
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise ChangedFileError(f"a file cannot be read: {error.strerror}; mend that and continue") from error
    if left:
        raise ChangedFileError("a file became shorter while it was read; continue when nothing writes to it")


def _part_head(boundary: str, file: LocalFile) -> bytes:
    name = "".join(_escaped(character) for character in file.name[-LONGEST_NAME:])
    lines = [
        f"--{boundary}",
        f'Content-Disposition: form-data; name="files"; filename="{name}"',
        "Content-Type: application/octet-stream",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")


def _escaped(character: str) -> str:
    """As browsers do: a quote or a control character would end the header."""
    return f"%{ord(character):02X}" if character == '"' or ord(character) < ord(" ") else character
