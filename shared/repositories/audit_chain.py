"""Seals of audit events: added in order, one sealer at a time, and followed from any seal on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Integer, Select, bindparam, func, insert, select
from sqlalchemy.orm import Session

from shared.audit_chain import START, Break, Link, Seal, follow, seals
from shared.db import AdvisoryLock, take_lock
from shared.models import AuditEvent, AuditSeal, table_of

_EVENT, _SEAL = table_of(AuditEvent), table_of(AuditSeal)
_EVENTS, _SEALS = _EVENT.c, _SEAL.c
# Limited before it is joined, or PostgreSQL may read all events for a few seals.
_SOME = (
    select(_SEAL)
    .where(_SEALS.sequence > bindparam("after"))
    .order_by(_SEALS.sequence)
    .limit(bindparam("most", type_=Integer))
    .subquery()
)
_LINKS = (
    select(_SOME.c.sequence, _SOME.c.event_id, _SOME.c.digest, *_EVENTS)
    .select_from(_SOME.outerjoin(_EVENT, _EVENTS.id == _SOME.c.event_id))
    .order_by(_SOME.c.sequence)
)


@dataclass(frozen=True)
class Followed:
    """How far a look along the chain came: the last seal that holds, whether more follow, or where it breaks."""

    last: Seal
    has_more: bool
    broken: Break | None


@dataclass(frozen=True)
class Unsealed:
    """Events that wait for their seal, and since when the oldest does."""

    number: int
    oldest_at: datetime | None


def newest_seal(session: Session) -> Seal:
    """The end of the chain; its start where nothing is sealed."""
    row = session.execute(select(_SEALS.sequence, _SEALS.digest).order_by(_SEALS.sequence.desc()).limit(1)).first()
    return Seal(row.sequence, row.digest) if row else START


def seal_of(session: Session, sequence: int) -> Seal | None:
    """The seal of a number."""
    row = session.execute(select(_SEALS.sequence, _SEALS.digest).where(_SEALS.sequence == sequence)).first()
    return Seal(row.sequence, row.digest) if row else START if sequence == START.sequence else None


def last_sealed_event(session: Session) -> int:
    """The highest id of an event that is sealed; 0 where none is."""
    return session.scalar(select(func.max(_SEALS.event_id))) or 0


def unsealed_events(session: Session, limit: int, *, after: int, upto: int | None = None) -> Sequence[Any]:
    """Committed events without a seal, in order of their ids, of which those after `after` are looked at."""

    def window(event_id: Column[int]) -> list[ColumnElement[bool]]:
        return [event_id > after] if upto is None else [event_id > after, event_id <= upto]

    # The window stands at both: else PostgreSQL may go through the seals from the first one on.
    waiting = _unsealed(*window(_SEALS.event_id), columns=_EVENTS).where(*window(_EVENTS.id))
    return session.execute(waiting.order_by(_EVENTS.id).limit(limit)).all()


def add_seals(session: Session, last: Seal, events: Sequence[Any]) -> int:
    """Seal events after `last`, which must still be the newest seal; returns how many: none where it is not."""
    take_lock(session.connection(), AdvisoryLock.SEALS)
    if newest_seal(session) != last:
        return 0
    rows = [
        {"sequence": seal.sequence, "event_id": event.id, "digest": seal.digest}
        for seal, event in zip(seals(last, events), events, strict=True)
    ]
    session.execute(insert(_SEAL), rows)
    return len(rows)


def follow_chain(session: Session, after: Seal, most: int) -> Followed:
    """Look along up to `most` seals after one that holds."""
    rows = session.execute(_LINKS, {"after": after.sequence, "most": most}).all()
    links = [Link(row.sequence, row.event_id, row.digest, None if row.id is None else row) for row in rows]
    last, broken = follow(after, links)
    return Followed(last, len(rows) == most and broken is None, broken)


def unsealed(session: Session) -> Unsealed:
    """What waits for its seal: as many as there are more events than seals, of which the newest ones have none."""
    events = session.scalar(select(func.count()).select_from(_EVENT)) or 0
    number = max(0, events - newest_seal(session).sequence)
    waiting = _unsealed(columns=[_EVENTS.at]).order_by(_EVENTS.id.desc()).limit(number).subquery()
    return Unsealed(number, session.scalar(select(func.min(waiting.c.at))) if number else None)


def _unsealed(*of_seals: ColumnElement[bool], columns: Iterable[Any]) -> Select[*tuple[Any, ...]]:
    sealed = select(_SEALS.event_id).where(_SEALS.event_id == _EVENTS.id, *of_seals)
    return select(*columns).select_from(_EVENT).where(~sealed.exists())
