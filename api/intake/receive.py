"""A request's body, streamed to disk: each file in it as its own spooled blob or the reason why not (arrow 1)."""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import BinaryIO

from gunicorn.http.errors import ParseException
from python_multipart.multipart import parse_options_header
from werkzeug.exceptions import ClientDisconnected

from api.intake.archive import read_archive
from api.intake.multipart import FILE_TYPES, Part, read_parts
from api.intake.spooling import Cap, ReceivedFile, display_name, is_zip, spool_file
from shared.config import Settings
from shared.errors import InvalidRequestError, PermanentError, UnsupportedMediaTypeError
from shared.reasons import Reason
from shared.storage import ContentStore, SpooledBlob

__all__ = ["ReceivedFile", "receive"]

CHUNK_BYTES = 256 * 1024
DICOM_TYPE = "application/dicom"
ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed"})
EXPECTED = (
    'multipart/form-data, multipart/related; type="application/dicom", application/zip, application/dicom or '
    "application/octet-stream"
)


def receive(
    stream: BinaryIO,
    content_type: str,
    store: ContentStore,
    settings: Settings,
    *,
    expected_bytes: int | None = None,
) -> Generator[ReceivedFile, None, None]:
    """Take the files of a request's body, in order; zips are opened and yield their entries.

    The media type is checked at the call, the body as it is read. Where the body breaks off (also: fewer
    bytes than `expected_bytes`, its Content-Length) or holds too many files, an error is raised after the
    whole files before that were yielded. A yielded blob is the caller's; all else is removed when the
    generator ends or is closed.
    """
    type_bytes, options = parse_options_header(content_type)
    media_type = type_bytes.decode("latin-1")
    chunks = _chunks(stream, expected_bytes)
    if media_type in FILE_TYPES:
        parts = iter([Part(None, chunks)])
    elif media_type == "multipart/form-data" or _is_related_dicom(media_type, options):
        related = media_type == "multipart/related"
        parts = read_parts(chunks, options.get(b"boundary", b""), every_part_is_file=related)
    else:
        came = display_name(content_type)[:100] or "no Content-Type"
        raise UnsupportedMediaTypeError(f"the body is {came}; expected {EXPECTED}")
    return _receive(parts, store, settings, always_zip=media_type in ZIP_TYPES)


def _is_related_dicom(media_type: str, options: dict[bytes, bytes]) -> bool:
    return media_type == "multipart/related" and options.get(b"type", b"").lower() == DICOM_TYPE.encode()


def _chunks(stream: BinaryIO, expected_bytes: int | None) -> Iterator[bytes]:
    received_bytes = 0
    while True:
        try:
            chunk = stream.read(CHUNK_BYTES)
        except (OSError, ClientDisconnected, ParseException) as error:
            raise InvalidRequestError(_ended_early(received_bytes, expected_bytes)) from error
        if not chunk:
            break
        received_bytes += len(chunk)
        yield chunk
    # The server's stream simply ends when the connection does: only the count tells half a file from a whole one.
    if expected_bytes is not None and received_bytes < expected_bytes:
        raise InvalidRequestError(_ended_early(received_bytes, expected_bytes))


def _ended_early(received_bytes: int, expected_bytes: int | None) -> str:
    expected = "" if expected_bytes is None else f" of the {expected_bytes} announced"
    return (
        f"the body ended early, after {received_bytes} bytes{expected}; the files before that were received, "
        "send the rest again"
    )


def _receive(
    parts: Iterator[Part], store: ContentStore, settings: Settings, *, always_zip: bool
) -> Generator[ReceivedFile, None, None]:
    number = 0
    for part_number, part in enumerate(parts, start=1):
        with closing(_part_files(part, store, settings, always_zip=always_zip)) as files:
            for file in files:
                number += 1
                if number > settings.max_request_files:
                    file.drop()
                    raise _too_many(settings)
                yield file
        # A part that was left empty is no file, and yet one more to read.
        if part_number > settings.max_request_files:
            raise _too_many(settings)


def _too_many(settings: Settings) -> InvalidRequestError:
    return InvalidRequestError(
        f"the request holds more than {settings.max_request_files} files; the first of them were received, send the "
        "rest in another request"
    )


def _part_files(
    part: Part, store: ContentStore, settings: Settings, *, always_zip: bool
) -> Generator[ReceivedFile, None, None]:
    name = part.name or ""
    try:
        blob, zipped = _spool_part(part, store, settings, always_zip=always_zip)
    except PermanentError as error:
        left_empty = part.name == "" and error.recorded_reason is Reason.EMPTY_FILE
        if not left_empty:
            yield ReceivedFile.refused(name, error)
        return
    if zipped:
        yield from read_archive(blob, name, store, settings)
    else:
        yield ReceivedFile.kept(name, blob)


def _spool_part(part: Part, store: ContentStore, settings: Settings, *, always_zip: bool) -> tuple[SpooledBlob, bool]:
    def cap_of(head: bytes) -> Cap:
        if always_zip or is_zip(head):
            return Cap(settings.max_archive_bytes, Reason.ARCHIVE_TOO_LARGE)
        return Cap(settings.max_file_bytes, Reason.TOO_LARGE)

    blob, head = spool_file(part.data, store, settings, cap_of)
    return blob, always_zip or is_zip(head)
