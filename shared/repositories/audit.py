"""The audit trail: one row per act, in the transaction of the act."""

from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.models import AuditEvent


def add_audit_event(
    session: Session, principal_id: int | None, action: str, object_kind: str, object_id: object, **detail: Any
) -> None:
    """Record who did what to which object; `detail` holds counts and ids, never patient data."""
    session.execute(
        insert(AuditEvent).values(
            at=utc_now(),
            principal_id=principal_id,
            action=action,
            object_kind=object_kind,
            object_id=str(object_id),
            detail=detail,
        )
    )
