"""Documents of report versions: which there are, and where their bytes lie."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.models import ReportRendition
from shared.states import RenditionFormat


def first_rendition(
    session: Session, report_id: UUID, kind: RenditionFormat, language: str, source_digest: str | None = None
) -> ReportRendition | None:
    """The first that was made, of this source where one is named; for a signed version that is the one for ever."""
    row = ReportRendition
    statement = select(row).where(row.report_id == report_id, row.format == kind, row.language == language)
    if source_digest is not None:
        statement = statement.where(row.source_digest == source_digest)
    return session.scalar(statement.order_by(row.id).limit(1))


def add_rendition(
    session: Session, report_id: UUID, kind: RenditionFormat, language: str, *, source_digest: str, blob_sha256: str
) -> None:
    """Note a document whose blob has a row; the first of a source stays. Call `lock_index` first."""
    if first_rendition(session, report_id, kind, language, source_digest) is None:
        session.add(
            ReportRendition(
                report_id=report_id,
                format=kind,
                language=language,
                source_digest=source_digest,
                blob_sha256=blob_sha256,
                created_at=utc_now(),
            )
        )
        session.flush()
