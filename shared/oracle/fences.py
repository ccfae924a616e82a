"""No outcome was written by an attempt that no longer held its shard."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.models import Item
from shared.oracle.claims import claims
from shared.oracle.findings import Finding, Verdict, found, gather, stream
from shared.states import ItemState

# Outcomes and moves are dated by the database's clock, which may be set back by so much, not more, while it serves.
CLOCK_TOLERANCE = timedelta(seconds=0.1)


def check_fences(session: Session) -> Iterator[Finding]:
    """Each outcome names a claim of its shard, and was written while that claim lasted."""
    held = claims().subquery()
    items = select(Item.id).outerjoin(held, (held.c.shard_id == Item.shard_id) & (held.c.fence == Item.fence))
    unknown = items.where(Item.fence.is_not(None), held.c.shard_id.is_(None))
    yield from found(session, Verdict.OLD_FENCE, "an outcome names a fence that no claim had", "item", unknown)
    unclaimed = select(Item.id).where(Item.state == ItemState.DONE, Item.shard_id.is_not(None), Item.fence.is_(None))
    yield from found(session, Verdict.OLD_FENCE, "a result names no claim", "item", unclaimed)
    outside = items.add_columns(Item.finished_at, held.c.began_at, held.c.ended_at).where(
        (Item.finished_at > held.c.ended_at) | (Item.finished_at < held.c.began_at)
    )
    late = (
        f"item {row.id}"
        for row in stream(session, outside)
        if (row.ended_at is not None and row.finished_at > row.ended_at + CLOCK_TOLERANCE)
        or row.finished_at < row.began_at - CLOCK_TOLERANCE
    )
    yield from gather(Verdict.OLD_FENCE, "an outcome was written outside its claim", late)
