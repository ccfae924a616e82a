"""Every move of a job and its shards."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.paging import integer_cursor, page_of
from api.schemas.base import Page
from api.schemas.jobs import HistoryShown
from shared.models import History


def history_shown(session: Session, job_id: UUID, query: Page) -> Any:
    """A page of moves."""
    after = integer_cursor(query.cursor) or 0
    statement = select(History).where(History.job_id == job_id, History.id > after)
    rows = session.scalars(statement.order_by(History.id).limit(query.limit + 1)).all()
    return page_of(rows, query.limit, _shown, lambda row: str(row.id))


def _shown(row: History) -> HistoryShown:
    return HistoryShown(
        at=row.at,
        shard=row.shard_id,
        before=row.from_state,
        after=row.to_state,
        reason=row.reason,
        actor=row.actor,
        attempt=row.attempt,
        fence=row.fence,
        items_open=row.items_open,
    )
