"""What failed lately, by reason: read from an index that holds nothing but failures, in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Float, bindparam, func, select
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.models import Item
from shared.models.job import IS_FAILED
from shared.reasons import Reason


@dataclass(frozen=True)
class Failed:
    """How many items failed for a reason; the last of them, when, and its job."""

    reason: Reason
    items: int
    last_at: datetime
    last_job_id: UUID


_LATEST = (
    select(Item.reason, Item.finished_at, Item.job_id)
    .where(IS_FAILED, Item.finished_at > db_now(-bindparam("seconds", type_=Float)))
    .order_by(Item.finished_at.desc())
    .limit(bindparam("most"))
    .subquery()
)
_REASON, _AT, _JOB = _LATEST.c.reason, _LATEST.c.finished_at, _LATEST.c.job_id
_RANKED = select(
    _REASON,
    func.count().over(partition_by=_REASON).label("number"),
    _AT,
    _JOB,
    func.row_number().over(partition_by=_REASON, order_by=_AT.desc()).label("place"),
).subquery()
_BY_REASON = (
    select(_RANKED.c.reason, _RANKED.c.number, _RANKED.c.finished_at, _RANKED.c.job_id)
    .where(_RANKED.c.place == 1)
    .order_by(_RANKED.c.number.desc(), _RANKED.c.reason)
)


def failed_lately(session: Session, seconds: float, most: int) -> Sequence[Failed]:
    """In the last so many seconds, the most frequent reason first; no more than the last `most` are counted."""
    return [Failed(*row) for row in session.execute(_BY_REASON, {"seconds": seconds, "most": most})]
