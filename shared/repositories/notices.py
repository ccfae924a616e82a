"""Notices to webhooks: added in the transaction of what they tell, seen by operators, sent again on their word."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, joinedload

from shared.clock import utc_now
from shared.db import db_now
from shared.events import Event
from shared.identifiers import new_id
from shared.models import Notice, Webhook, table_of
from shared.repositories.history import changed_rows
from shared.states import NOTICE_MOVES, NoticeState

Row = Mapping[str, Any]
_WEBHOOKS = table_of(Webhook).c


def _adding(dialect: Any) -> Any:
    made = dialect.insert(table_of(Notice)).values(created_at=db_now(), not_before=db_now())
    return made.on_conflict_do_nothing()


# Made once, and on the tables themselves: each job that ends and each few reports ask this.
_ENABLED = select(_WEBHOOKS.id, _WEBHOOKS.events).where(_WEBHOOKS.disabled_at.is_(None))
_ADD = {"sqlite": _adding(sqlite), "postgresql": _adding(postgresql)}
_BLANK = {"state": NoticeState.PENDING, "attempt": 0, "fence": 0, "last_error": ""}


def add_notices(session: Session, event: Event, object_kind: str, bodies: Mapping[object, Row]) -> None:
    """Tell every webhook that is for the event of these objects, in the transaction of what happened to them.

    Bodies hold ids, states, numbers and links, never patient data. The same event of an object is told once.
    """
    to = [webhook.id for webhook in session.execute(_ENABLED) if event in webhook.events]
    if to:
        add_notices_to(session, to, event, object_kind, bodies)


def add_notices_to(
    session: Session, webhook_ids: Sequence[int], event: Event, object_kind: str, bodies: Mapping[object, Row]
) -> list[UUID]:
    """The same to certain webhooks; gives the notices' ids."""
    at = utc_now().isoformat()
    ids: list[UUID] = []
    rows = []
    for object_id, body in bodies.items():
        envelope = {"event": event.value, "at": at, "object": {"kind": object_kind, "id": str(object_id)}}
        of_all = _BLANK | {"event": event.value, "object_kind": object_kind, "object_id": str(object_id)}
        for webhook_id in webhook_ids:
            ids.append(new_id())
            rows.append(of_all | {"id": ids[-1], "webhook_id": webhook_id, "body": envelope | dict(body)})
    if rows:
        session.execute(_ADD[session.get_bind().dialect.name], rows)
    return ids


def tell_of_reports(session: Session, event: Event, reports: Sequence[Row]) -> None:
    """Notices of new report versions, given as the columns of their rows."""
    bodies = {
        report["id"]: {
            "number": report["number"],
            "status": report["status"].value,
            "model": {name: report["document"]["model"][name] for name in ("name", "version")},
            "links": {"report": f"/api/v1/reports/{report['id']}"},
        }
        for report in reports
    }
    add_notices(session, event, "report", bodies)


def get_notice(session: Session, notice_id: UUID) -> Notice | None:
    """A notice with its webhook."""
    return session.scalar(select(Notice).options(joinedload(Notice.webhook)).where(Notice.id == notice_id))


def list_notices(
    session: Session,
    *,
    state: NoticeState | None = None,
    webhook: str | None = None,
    event: Event | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> Sequence[Notice]:
    """The newest first, older than the cursor `before`."""
    statement = select(Notice).join(Notice.webhook).options(joinedload(Notice.webhook))
    if state is not None:
        statement = statement.where(Notice.state == state)
    if webhook is not None:
        statement = statement.where(Webhook.name == webhook)
    if event is not None:
        statement = statement.where(Notice.event == event)
    if before is not None:
        statement = statement.where(Notice.id < before)
    return session.scalars(statement.order_by(Notice.id.desc()).limit(limit)).all()


def resend(session: Session, before: NoticeState, *which: ColumnElement[bool]) -> int:
    """Have notices sent again, with all their tries before them; how many still were in the state `before`."""
    if NoticeState.PENDING not in NOTICE_MOVES[before]:
        return 0
    statement = (
        update(Notice)
        .where(Notice.state == before, *which)
        .values(
            state=NoticeState.PENDING,
            attempt=0,
            fence=Notice.fence + 1,
            lease_until=None,
            not_before=db_now(),
            finished_at=None,
        )
    )
    return changed_rows(session.execute(statement.execution_options(synchronize_session=False)))


def count_notices(session: Session, states: Sequence[NoticeState]) -> dict[NoticeState, int]:
    """How many notices are in each of these states."""
    statement = select(Notice.state, func.count()).where(Notice.state.in_(states)).group_by(Notice.state)
    counts: dict[NoticeState, int] = dict(session.execute(statement).all())
    return {state: counts.get(state, 0) for state in states}
