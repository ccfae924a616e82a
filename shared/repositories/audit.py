"""The audit trail: one row per act, in the transaction of the act."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.models import AuditEvent, table_of

# Made once, and on the table itself: building a statement takes longer than running it.
_ADD = insert(table_of(AuditEvent))


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
