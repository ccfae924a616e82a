"""The next version of a chain: what it says of itself and of what changed, and the columns of its row. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.errors import ConflictError
from shared.identifiers import new_id
from shared.json_text import Written
from shared.reports.changes import changes
from shared.states import REPORT_MOVES, ReportOrigin, ReportStatus


@dataclass(frozen=True)
class NewestReport:
    """The newest version of a chain, which the next one supersedes."""

    id: UUID
    number: int
    status: ReportStatus
    inputs_digest: str
    document: dict[str, Any]


@dataclass(frozen=True)
class Act:
    """What makes a version: by whom (none: the machine, from results), and what it is then."""

    origin: ReportOrigin
    status: ReportStatus
    at: datetime
    principal_id: int | None = None
    by: str | None = None
    signs: UUID | None = None


def next_version(
    act: Act, document: dict[str, Any], inputs_digest: str, previous: NewestReport | None
) -> dict[str, Any]:
    """The columns of the next version of a chain but those that name patient and model.

    Raises ConflictError where the newest version's status does not allow it.
    """
    if previous is not None and act.status not in REPORT_MOVES[previous.status]:
        raise ConflictError(
            f"Version {previous.number} is {previous.status}, so the next one cannot be {act.status}; "
            f"it can be {', '.join(sorted(REPORT_MOVES[previous.status]))}."
        )
    report_id, number = new_id(), previous.number + 1 if previous else 1
    said: dict[str, Any] = {
        "id": str(report_id),
        "number": number,
        "status": act.status.value,
        "origin": act.origin.value,
        "created_at": act.at.isoformat(),
        "by": act.by,
        "signs": str(act.signs) if act.signs else None,
    }
    whole = document | {"version": said}
    since = previous and {"id": str(previous.id), "number": previous.number}
    whole["changes"] = {"since": since} | (changes(previous.document, whole) if previous else {})
    written = Written(whole)
    return {
        "id": report_id,
        "number": number,
        "origin": act.origin,
        "status": act.status,
        "inputs_digest": inputs_digest,
        "document": written,
        "content_digest": written.digest,
        "supersedes": previous.id if previous else None,
        "signs": act.signs,
        "principal_id": act.principal_id,
        "created_at": act.at,
    }
