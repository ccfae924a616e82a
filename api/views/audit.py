"""Audit events, and how far the chain over them holds."""

from typing import Any

from sqlalchemy import Engine

from api.schemas.audit import AuditEventShown, BreakShown, ChainShown
from shared.audit_chain import Break, Seal
from shared.clock import utc_now
from shared.db import reading
from shared.repositories.audit_chain import follow_chain, newest_seal, seal_of, unsealed

# So many rows at a time, each in a look of its own: memory stays flat, and no snapshot is held for long.
LINKS_AT_ONCE = 2000


def event_shown(row: Any) -> AuditEventShown:
    """One event."""
    return AuditEventShown.model_validate(row)


def chain_shown(engine: Engine, after: Seal, most: int) -> ChainShown:
    """The chain from one of its seals on."""
    last, broken, has_more = _follow(engine, after, most)
    with reading(engine) as session:
        head, waiting = newest_seal(session), unsealed(session)
    age = waiting.oldest_at and (utc_now() - waiting.oldest_at).total_seconds()
    return ChainShown(
        holds=broken is None,
        broken=broken and BreakShown.model_validate(broken, from_attributes=True),
        last=str(last),
        head=str(head),
        sealed=head.sequence,
        unsealed=waiting.number,
        oldest_unsealed_s=age,
        next=str(last) if has_more else None,
    )


def _follow(engine: Engine, after: Seal, most: int) -> tuple[Seal, Break | None, bool]:
    """The last seal that holds, where it breaks, and whether more follow."""
    with reading(engine) as session:
        if seal_of(session, after.sequence) != after:
            return after, Break(after.sequence, None, "the chain does not go through this seal"), False
    last, left, has_more = after, most, True
    while left and has_more:
        with reading(engine) as session:
            found = follow_chain(session, last, min(left, LINKS_AT_ONCE))
        left -= found.last.sequence - last.sequence
        last, has_more = found.last, found.has_more
        if found.broken is not None:
            return last, found.broken, False
    return last, None, has_more
