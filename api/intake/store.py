"""Received files -> content store -> index rows, in batches: bytes first, then one transaction."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.intake.receive import ReceivedFile
from api.services import Services
from shared.db import reading
from shared.dicom.read import Header
from shared.errors import InvalidRequestError, PermanentError, StorageFullError
from shared.models import Upload, UploadFile
from shared.repositories.imaging import add_blob, index_instance, instance_of_blob, site_named
from shared.repositories.uploads import instances_by_blob
from shared.states import FileOutcome, Reason

BATCH_FILES = 128
# Two requests that index the same patient at once collide on PostgreSQL; the second try finds the row.
TRIES = 5
DICOM_MEDIA_TYPE = "application/dicom"


@dataclass(frozen=True)
class CheckedFile:
    """A received file after its header was read: kept with a header, or rejected with a reason."""

    name: str
    sha256: str | None
    size_bytes: int
    header: Header | None = None
    reason: Reason | None = None
    detail: str = ""


def store_files(services: Services, upload_id: UUID, received: Iterable[ReceivedFile]) -> list[UploadFile]:
    """Store what arrives, batch by batch; what was stored before an error stays stored."""
    files: list[UploadFile] = []
    incoming = iter(received)
    while batch := _take(incoming):
        files.extend(_store_batch(services, upload_id, batch.files))
        if batch.error is not None:
            raise batch.error
    return files


@dataclass
class _Batch:
    files: list[ReceivedFile]
    error: InvalidRequestError | StorageFullError | None = None

    def __bool__(self) -> bool:
        return bool(self.files) or self.error is not None


def _take(incoming: Iterator[ReceivedFile]) -> _Batch:
    """The next files; where the body breaks off, those before the break and the error."""
    batch = _Batch([])
    try:
        for file in islice(incoming, BATCH_FILES):
            batch.files.append(file)
    except (InvalidRequestError, StorageFullError) as error:
        batch.error = error
    return batch


def _store_batch(services: Services, upload_id: UUID, batch: list[ReceivedFile]) -> list[UploadFile]:
    if services.store.free_bytes() < services.settings.min_free_bytes:
        for file in batch:
            if file.blob:
                file.blob.drop()
        raise StorageFullError("the disk is nearly full; free some space and continue this upload")
    with reading(services.engine) as session:
        known = instances_by_blob(session, [file.blob.sha256 for file in batch if file.blob])
    with ThreadPoolExecutor(max_workers=4) as pool:
        checked = list(pool.map(lambda file: _check(services, file, known), batch))
    for attempt in range(TRIES):
        try:
            with services.unit_of_work() as uow:
                return _index(uow.session, services.settings.site, upload_id, checked)
        except IntegrityError:
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


def _check(services: Services, file: ReceivedFile, known: dict[str, int]) -> CheckedFile:
    """Read the header in a limited child, and make the bytes durable if there is something to index."""
    blob = file.blob
    if blob is None:
        return CheckedFile(file.name, None, 0, reason=file.reason, detail=file.detail)
    if blob.sha256 in known and services.store.exists(blob.sha256):
        blob.drop()
        return CheckedFile(file.name, blob.sha256, blob.size_bytes)
    try:
        header = services.headers.read(blob.path)
        services.store.keep(blob)
    except PermanentError as error:
        reason = error.recorded_reason
        return CheckedFile(file.name, blob.sha256, blob.size_bytes, reason=reason, detail=error.message)
    finally:
        blob.drop()
    return CheckedFile(file.name, blob.sha256, blob.size_bytes, header=header)


def _index(session: Session, site_name: str, upload_id: UUID, checked: list[CheckedFile]) -> list[UploadFile]:
    site = site_named(session, site_name)
    upload = session.get_one(Upload, upload_id)
    rows = []
    for file in checked:
        row = UploadFile(
            upload_id=upload.id,
            name=file.name,
            outcome=FileOutcome.REJECTED,
            reason=file.reason,
            detail=file.detail,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
        )
        if file.reason is None and file.sha256 is not None:
            instance = instance_of_blob(session, file.sha256)
            row.outcome = FileOutcome.DUPLICATE if instance else FileOutcome.STORED
            if instance is None and file.header is not None:
                add_blob(session, file.sha256, file.size_bytes, DICOM_MEDIA_TYPE)
                instance = index_instance(session, file.header, file.sha256, site)
            row.instance_id = instance.id if instance else None
        rows.append(row)
    session.add_all(rows)
    session.flush()
    return rows
