"""The duty: seal committed audit events, so that none can be altered or taken out without a trace."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from shared.db import reading
from shared.repositories.audit_chain import add_seals, last_sealed_event, newest_seal, unsealed_events
from shared.unit_of_work import UnitOfWork

# One turn seals so many: the other duties never wait long.
MOST_EVENTS = 1000
# A transaction that began before others may commit after them. The ids just below the newest sealed one are looked at
# each time; older ones in turn, so many at a time.
LOOK_BACK = 1000
STRIDE = 5000


class Sealing:
    """Seals in order of ids what is there; what commits late gets a later place in the chain."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looked_down_to = 0

    def run(self) -> int:
        """Seal some events; returns how many. Another scheduler that was quicker leaves nothing to do."""
        with reading(self._engine) as session:
            last = newest_seal(session)
            events = self._waiting(session)
        if not events:
            return 0
        with UnitOfWork(self._engine) as uow:
            return add_seals(uow.session, last, events)

    def _waiting(self, session: Session) -> Sequence[Any]:
        known = last_sealed_event(session) - LOOK_BACK
        newer = unsealed_events(session, MOST_EVENTS, after=known)
        room = MOST_EVENTS - len(newer)
        return [*self._late(session, known, room), *newer] if room else newer

    def _late(self, session: Session, known: int, room: int) -> Sequence[Any]:
        """Further back, a stride at a time, down to the first event and then from the newest ones again."""
        upto = self._looked_down_to if self._looked_down_to > 0 else known
        self._looked_down_to = upto - STRIDE
        return unsealed_events(session, room, after=self._looked_down_to, upto=upto)
