"""Received files -> content store -> index rows, in batches: bytes first, then one transaction."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from sqlalchemy.orm import Session

from api.intake.receive import ReceivedFile
from api.services import Services
from shared.db import reading
from shared.dicom.read import Header
from shared.errors import InvalidRequestError, PermanentError, TransientError
from shared.models import UploadFile
from shared.reasons import Reason
from shared.repositories.imaging import NewInstance, index_instances, lock_index, site_named
from shared.repositories.uploads import instances_by_blob
from shared.states import FileOutcome

BATCH_FILES = 128
BATCH_S = 60.0  # what comes slowly is stored in smaller batches: a spooled file that lies for hours would be swept
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
    error: InvalidRequestError | TransientError | None = None

    def __bool__(self) -> bool:
        return bool(self.files) or self.error is not None


def _take(incoming: Iterator[ReceivedFile]) -> _Batch:
    """The next files; where the body breaks off, those before the break and the error."""
    batch = _Batch([])
    began_s = time.monotonic()
    try:
        for file in islice(incoming, BATCH_FILES):
            batch.files.append(file)
            if time.monotonic() - began_s > BATCH_S:
                break
    except (InvalidRequestError, TransientError) as error:
        batch.error = error
    except BaseException:
        _drop(batch.files)
        raise
    return batch


def _store_batch(services: Services, upload_id: UUID, batch: list[ReceivedFile]) -> list[UploadFile]:
    try:
        services.store.require_room(services.settings.min_free_bytes)
        with reading(services.engine) as session:
            known = instances_by_blob(session, [file.blob.sha256 for file in batch if file.blob])
        with ThreadPoolExecutor(max_workers=4) as pool:
            checked = list(pool.map(lambda file: _check(services, file, known), batch))
        new = [file.blob for file, found in zip(batch, checked, strict=True) if file.blob and found.header]
        services.store.keep_all(new)
    finally:
        _drop(batch)
    with services.unit_of_work() as uow:
        return _index(uow.session, services, upload_id, checked)


def _drop(batch: list[ReceivedFile]) -> None:
    """Forget spooled bytes that were not kept; where they were, there is nothing to forget."""
    for file in batch:
        file.drop()


def _check(services: Services, file: ReceivedFile, known: dict[str, int]) -> CheckedFile:
    """Read the header in a limited child, unless the bytes are known."""
    blob = file.blob
    if blob is None:
        return CheckedFile(file.name, None, 0, reason=file.reason, detail=file.detail)
    if blob.sha256 in known and services.store.is_whole(blob.sha256):
        return CheckedFile(file.name, blob.sha256, blob.size_bytes)
    try:
        header = services.headers.read(blob.path)
    except PermanentError as error:
        reason = error.recorded_reason
        return CheckedFile(file.name, blob.sha256, blob.size_bytes, reason=reason, detail=error.message)
    return CheckedFile(file.name, blob.sha256, blob.size_bytes, header=header)


def _index(session: Session, services: Services, upload_id: UUID, checked: list[CheckedFile]) -> list[UploadFile]:
    lock_index(session)
    accepted = [file.sha256 for file in checked if file.sha256 and file.reason is None]
    known = instances_by_blob(session, accepted)
    new = {
        file.sha256: NewInstance(file.sha256, file.size_bytes, DICOM_MEDIA_TYPE, file.header)
        for file in checked
        if file.sha256 and file.header and file.sha256 not in known
    }
    services.store.require(new)
    site = site_named(session, services.settings.site)
    instances = known | index_instances(session, list(new.values()), site)
    rows = []
    for file in checked:
        first = new.pop(file.sha256, None) if file.sha256 else None
        rows.append(_row(upload_id, file, instances, is_new=first is not None))
    session.add_all(rows)
    session.flush()
    return rows


def _row(upload_id: UUID, file: CheckedFile, instances: dict[str, int], *, is_new: bool) -> UploadFile:
    stored = FileOutcome.STORED if is_new else FileOutcome.DUPLICATE
    return UploadFile(
        upload_id=upload_id,
        name=file.name,
        outcome=stored if file.reason is None else FileOutcome.REJECTED,
        reason=file.reason,
        detail=file.detail,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        instance_id=instances[file.sha256] if file.sha256 and file.reason is None else None,
    )
