"""Senders of notices in threads of a test's own."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sqlalchemy import Engine, select

from scheduler.notices.sender import Sender
from shared.config import Settings
from shared.db import reading
from shared.events import EVENTS, Event
from shared.models import Notice
from shared.repositories.notices import add_notices
from shared.repositories.webhooks import add_webhook
from shared.unit_of_work import UnitOfWork
from tests.factories import admin_id
from tests.receiver import SECRET


@contextmanager
def sending(engine: Engine, settings: Settings, senders: int = 1) -> Iterator[None]:
    """So many senders at work, ended with the block."""
    with ExitStack() as stack:
        for _ in range(senders):
            sender = Sender(engine, settings)
            thread = threading.Thread(target=sender.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(sender.stop)
        yield


def listen(engine: Engine, url: str, *, name: str = "ris", events: Sequence[Event] = EVENTS) -> None:
    """A webhook, whatever the API would say of its target."""
    with UnitOfWork(engine) as uow:
        add_webhook(uow.session, name, url=url, events=events, secret=SECRET, principal_id=admin_id(uow.session))


def tell(engine: Engine, *object_ids: str, event: Event = Event.JOB_ENDED) -> None:
    """A notice of each to whoever listens."""
    with UnitOfWork(engine) as uow:
        add_notices(uow.session, event, "job", {object_id: {"state": "done"} for object_id in object_ids})


def notices_of(engine: Engine) -> list[Notice]:
    """All there are, as they stand, in their order."""
    with reading(engine) as session:
        return list(session.scalars(select(Notice).order_by(Notice.id)))
