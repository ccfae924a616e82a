"""The audit trail: one row per act, in the transaction of the act."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import false, insert, select, tuple_
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.models import AuditEvent, AuditSeal, Principal, table_of
from shared.repositories.filters import as_given

# Made once, and on the table itself: building a statement takes longer than running it.
_ADD = insert(table_of(AuditEvent))


@dataclass(frozen=True)
class AuditFilter:
    """Which events; an object is named with its kind."""

    object_kind: str | None = None
    object_id: str | None = None
    principal: str | None = None
    action: str | None = None
    since: datetime | None = None


def list_audit_events(session: Session, wanted: AuditFilter, *, before: int | None, limit: int) -> Sequence[Any]:
    """Events, the newest first, each with its principal's name and its place in the chain; `before`: an event's id."""
    statement = (
        select(
            *(column for column in table_of(AuditEvent).c if column.name != "principal_id"),
            Principal.name.label("principal"),
            AuditSeal.sequence.label("seal"),
        )
        .outerjoin(Principal, Principal.id == AuditEvent.principal_id)
        .outerjoin(AuditSeal, AuditSeal.event_id == AuditEvent.id)
    )
    given = as_given(
        (AuditEvent.object_kind, wanted.object_kind),
        (AuditEvent.object_id, wanted.object_id),
        (AuditEvent.action, wanted.action),
    )
    statement = statement.where(*given)
    if wanted.principal is not None:
        # Its number, known beforehand: so the database knows how many events it has, and which index leads to them.
        named = session.scalar(select(Principal.id).where(Principal.name == wanted.principal))
        statement = statement.where(AuditEvent.principal_id == named if named is not None else false())
    if wanted.since is not None:
        statement = statement.where(AuditEvent.at >= wanted.since)
    if before is not None:
        last = session.execute(select(AuditEvent.at, AuditEvent.id).where(AuditEvent.id == before)).first()
        statement = statement.where(tuple_(AuditEvent.at, AuditEvent.id) < last if last else false())
    return session.execute(statement.order_by(AuditEvent.at.desc(), AuditEvent.id.desc()).limit(limit)).all()


def add_audit_event(
    session: Session, principal_id: int | None, action: str, object_kind: str, object_id: object, **detail: Any
) -> None:
    """Record who did what to which object; `detail` holds counts and ids, never patient data."""
    add_audit_events(session, principal_id, action, object_kind, {object_id: detail})


def add_audit_events(
    session: Session,
    principal_id: int | None,
    action: str,
    object_kind: str,
    details: Mapping[object, Mapping[str, Any]],
) -> None:
    """The same act on several objects, each with its own detail."""
    common = {"at": utc_now(), "principal_id": principal_id, "action": action, "object_kind": object_kind}
    rows = [common | {"object_id": str(object_id), "detail": detail} for object_id, detail in details.items()]
    if rows:
        session.execute(_ADD, rows)
