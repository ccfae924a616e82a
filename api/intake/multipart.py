"""A multipart body as it streams in: its file parts, one after the other, held nowhere whole (arrow 1)."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from shared.errors import InvalidRequestError

MAX_HEADER_BYTES = 16 * 1024
MAX_FIELDS_BYTES = 1024 * 1024
FIELD_COST_BYTES = 64
BOUNDARY = re.compile(rb"[\x20-\x7e]{0,199}[\x21-\x7e]")
FILE_TYPES = frozenset(
    {"application/dicom", "application/octet-stream", "application/zip", "application/x-zip-compressed"}
)


@dataclass(frozen=True)
class Part:
    """One file of a body: read `data` before asking for the next part; what is left unread is dropped."""

    name: str | None
    """The file name that came with it: None when none did, empty when a form's file field was left empty."""
    data: Iterator[bytes | memoryview]


@dataclass
class _Headers:
    """The header lines of one part, by lower-case name."""

    lines: dict[bytes, bytes] = field(default_factory=dict)

    def media_type(self) -> str:
        return parse_options_header(self.lines.get(b"content-type"))[0].decode("latin-1")

    def file_name(self) -> str | None:
        _, options = parse_options_header(self.lines.get(b"content-disposition"))
        name = options.get(b"filename")
        return None if name is None else name.decode("utf-8", errors="replace")


class _PartEnd:
    """The boundary after a part was seen."""


_Event = _Headers | memoryview | _PartEnd


class _Collector:
    """Turns the parser's callbacks into a list of events, emptied after every chunk."""

    def __init__(self, boundary: bytes) -> None:
        self.ended = False
        self._events: list[_Event] = []
        self._headers = _Headers()
        self._name = bytearray()
        self._value = bytearray()
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": lambda: self._events.append(self._headers),
            "on_part_data": lambda data, start, end: self._events.append(memoryview(data)[start:end]),
            "on_part_end": lambda: self._events.append(_PartEnd()),
            "on_end": self._on_end,
        }
        typed: Any = callbacks  # the parser's own TypedDict of callbacks exists for type checkers only
        self._parser = MultipartParser(boundary, typed, max_header_size=MAX_HEADER_BYTES)

    def feed(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def take(self) -> list[_Event]:
        events, self._events = self._events, []
        return events

    def _on_part_begin(self) -> None:
        self._headers = _Headers()

    def _on_header_end(self) -> None:
        self._headers.lines[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _on_end(self) -> None:
        self.ended = True


def read_parts(chunks: Iterable[bytes], boundary: bytes, *, every_part_is_file: bool) -> Iterator[Part]:
    """The file parts of a multipart body, in order, as they arrive.

    In a form (`every_part_is_file` false) a part is a file when it has a file name or a file's media type; the
    other fields are read and dropped, up to 1 MiB of them. In multipart/related every part is a file.
    Raises InvalidRequestError where the body breaks off or is malformed, after the whole parts before that.
    """
    if not BOUNDARY.fullmatch(boundary):
        raise InvalidRequestError(
            "a multipart body needs a boundary of 1 to 200 printable ASCII characters in its Content-Type"
        )
    return _read_parts(_events(chunks, boundary), every_part_is_file)


def _read_parts(events: Iterator[_Event], every_part_is_file: bool) -> Iterator[Part]:
    fields_bytes = 0
    for event in events:
        if not isinstance(event, _Headers):
            continue  # what was left unread of the part before
        data = _part_data(events)
        name = event.file_name()
        if every_part_is_file or name is not None or event.media_type() in FILE_TYPES:
            yield Part(name, data)
        else:
            fields_bytes = _drop_field(data, fields_bytes)


def _part_data(events: Iterator[_Event]) -> Iterator[memoryview]:
    for event in events:
        if isinstance(event, _PartEnd):
            return
        if isinstance(event, memoryview):
            yield event


def _drop_field(data: Iterator[memoryview], fields_bytes: int) -> int:
    fields_bytes += FIELD_COST_BYTES
    for piece in data:
        fields_bytes += len(piece)
        if fields_bytes > MAX_FIELDS_BYTES:
            raise InvalidRequestError(
                f"the form's fields hold more than {MAX_FIELDS_BYTES} bytes; send each file as a part with a filename"
            )
    return fields_bytes


def _events(chunks: Iterable[bytes], boundary: bytes) -> Iterator[_Event]:
    collector = _Collector(boundary)
    for chunk in chunks:
        try:
            collector.feed(chunk)
        except MultipartParseError as error:
            yield from collector.take()
            raise InvalidRequestError(
                "the multipart body is malformed: expected the boundary that the Content-Type names, then header "
                "lines, an empty line and the file"
            ) from error
        yield from collector.take()
        if collector.ended:
            return
    raise InvalidRequestError(
        "the body ended early, before its closing boundary; the files before that were received, send the rest again"
    )
