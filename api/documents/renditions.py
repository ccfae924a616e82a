"""Documents of a report version: made on request and kept; those of a signed one frozen with the signature."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.documents.formats import FORMATS, NO_LANGUAGE, Material
from api.documents.source import Source, source_of
from api.services import services
from shared.db import reading
from shared.errors import (
    FontMissingError,
    NotFoundError,
    PermanentError,
    StorageFullError,
    StorageUnavailableError,
)
from shared.models import Report, ReportRendition
from shared.outage import is_outage
from shared.repositories.imaging import add_blob, lock_index
from shared.repositories.renditions import add_rendition, first_rendition
from shared.repositories.reports import get_report
from shared.states import SIGNED_STATUSES, RenditionFormat
from shared.unit_of_work import UnitOfWork

log = structlog.get_logger()

# A page that a passing fault left without its pictures must not be frozen.
WITH_PICTURES = frozenset({RenditionFormat.HTML, RenditionFormat.PDF})


@dataclass(frozen=True)
class Made:
    """A document of a report version; `language` is empty where it has none."""

    kind: RenditionFormat
    language: str
    data: bytes

    @property
    def sha256(self) -> str:
        """What it is stored, and named in ETags, by."""
        return hashlib.sha256(self.data).hexdigest()


def make_all(source: Source) -> list[Made]:
    """Every document that can be made of a version, in every language, stored durably; rows are `record`'s.

    What cannot be made here (no font, no heat map, a picture that is missing for now) is left out: it is made, and
    frozen, when first asked for.
    """
    material = Material(source, services().pictures)
    made = []
    for kind, one in FORMATS.items():
        if kind in WITH_PICTURES and not material.is_whole:
            log.warning("document_not_made", format=kind.value, error="pictures are missing")
            continue
        for language in one.languages:
            try:
                made.append(Made(kind, language, one.make(material, language)))
            except (FontMissingError, NotFoundError, PermanentError) as error:
                log.warning("document_not_made", format=kind.value, language=language, error=type(error).__name__)
    services().store.require_room(services().settings.min_free_bytes)
    for document in made:
        services().store.put(document.data)
    return made


def record(session: Session, report_id: UUID, source_digest: str, made: Sequence[Made]) -> None:
    """Make the rows of stored documents in the caller's transaction, after that of their report version."""
    lock_index(session)
    services().store.require(document.sha256 for document in made)
    for document in made:
        add_blob(session, document.sha256, len(document.data), FORMATS[document.kind].media_type)
        add_rendition(
            session,
            report_id,
            document.kind,
            document.language,
            source_digest=source_digest,
            blob_sha256=document.sha256,
        )


def rendition(report_id: UUID, kind: RenditionFormat, language: str) -> Made:
    """A document of a version: what was kept of it, else made now and kept; of a signed one always the same."""
    language = language if language in FORMATS[kind].languages else NO_LANGUAGE[0]
    with reading(services().engine) as session:
        report = get_report(session, report_id)
        if report is None:
            raise NotFoundError("There is no such report.")
        source = source_of(session, report.document, report.content_digest, report.model_version)
        row = _kept(session, report, source, kind, language)
    data = _read(row) if row else None
    if data is not None:
        return Made(kind, language, data)
    material = Material(source, services().pictures)
    made = Made(kind, language, FORMATS[kind].make(material, language))
    if row is not None:
        return _instead_of_lost(report, row, made)
    return _keep(report, source, made) if material.is_whole else made


def _kept(
    session: Session, report: Report, source: Source, kind: RenditionFormat, language: str
) -> ReportRendition | None:
    of_source = None if report.status in SIGNED_STATUSES else source.digest
    return first_rendition(session, report.id, kind, language, of_source)


def _read(row: ReportRendition) -> bytes | None:
    """The bytes that the row names; none where they are gone or damaged."""
    try:
        data = services().store.path(row.blob_sha256).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == row.blob_sha256 else None


def _instead_of_lost(report: Report, row: ReportRendition, made: Made) -> Made:
    """What was lost and made again; of a signed version only where it is the same to the byte."""
    if made.sha256 == row.blob_sha256:
        log.warning("document_healed", report_id=str(report.id), format=made.kind.value)
        services().store.put(made.data)
    elif report.status in SIGNED_STATUSES:
        raise StorageUnavailableError(
            f"The signed document {row.blob_sha256} is gone from the content store or damaged there, and cannot be "
            "made again as it was; bring it back from a backup."
        )
    return made


def _keep(report: Report, source: Source, made: Made) -> Made:
    """Keep it, and give what is kept: another request may have been first. Where nothing can be kept it is served."""
    try:
        services().store.require_room(services().settings.min_free_bytes)
        services().store.put(made.data)
        with UnitOfWork(services().engine) as uow:
            record(uow.session, report.id, source.digest, [made])
            row = _kept(uow.session, report, source, made.kind, made.language)
    except (StorageFullError, StorageUnavailableError) as error:
        log.warning("document_not_kept", report_id=str(report.id), error=type(error).__name__)
        return made
    except SQLAlchemyError as error:
        if not is_outage(error):
            raise
        log.warning("document_not_kept", report_id=str(report.id), error=type(error).__name__)
        return made
    data = _read(row) if row and row.blob_sha256 != made.sha256 else None
    return made if data is None else Made(made.kind, made.language, data)
