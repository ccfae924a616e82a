"""The duty: tell the queue again of shards that are queued and not heard of."""

from sqlalchemy import Engine

from shared.config import Settings
from shared.queue import HintSender
from shared.repositories.shards import due_for_hint
from shared.states import Lane
from shared.unit_of_work import UnitOfWork

HINTS_AT_ONCE = 100


def send_hints(engine: Engine, hints: HintSender, settings: Settings) -> int:
    """Send hints for stale queued shards, lane by lane; returns how many."""
    sent = 0
    for lane in Lane:
        with UnitOfWork(engine, hints) as uow:
            due = due_for_hint(uow.session, lane, settings.hint_interval_s, HINTS_AT_ONCE)
            if due:
                uow.hint(lane, len(due))
            sent += len(due)
    return sent
