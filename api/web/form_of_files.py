"""A form with files, as a browser without scripts sends it: only its first field is read here, the API takes the rest.

The files are neither held nor spooled here, whoever sends them: before the word is known, 4 KiB are read.
"""

import io
import re
from typing import Any, BinaryIO

from flask import g, request

FILES_TYPE = "multipart/form-data"
HEAD_BYTES, CHUNK_BYTES = 4096, 256 * 1024
# A form's fields come in the order they have on the page, and the word is the first (RFC 7578, 5.2).
_WORD = re.compile(
    rb'\A(?:\r\n)?--[^\r\n]{1,200}\r\ncontent-disposition: form-data; name="csrf"\r\n\r\n(\w+)\r\n', re.IGNORECASE
)


class _Whole(io.RawIOBase):
    """The body from its first byte, though its head was read."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = io.BytesIO(head), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._head.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def word_of_files() -> str:
    """The session's word, which the form begins with, empty where it does not; the body stays whole."""
    stream: BinaryIO = request.stream  # type: ignore[assignment]
    head = stream.read(HEAD_BYTES)
    g.body = io.BufferedReader(_Whole(head, stream), CHUNK_BYTES)
    found = _WORD.match(head)
    return found[1].decode() if found else ""


def whole_body() -> BinaryIO:
    """The form as it was sent."""
    body: BinaryIO = g.body
    return body
