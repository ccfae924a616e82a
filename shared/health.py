"""`python -m shared.health SERVICE`: ends with 0 while this host's api, worker or scheduler does its work.

Made for the health checks of containers, where the service is another process of the same host.
"""

import socket
import sys
from collections.abc import Callable

import httpx
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.config import Settings, load_settings
from shared.db import db_now, make_engine, reading
from shared.models import Shard
from shared.repositories.workers import live_workers
from shared.schema import schema_is_current
from shared.states import ShardState

API_TIMEOUT_S = 5.0
# A worker beats several times in this; a check that is too eager would restart what is only busy.
SILENCE_S = 60.0
# Recovery looks every second or so; a lease left for so long means that no scheduler is at work.
RECOVERY_OVERDUE_S = 60.0


def api_ailment(settings: Settings) -> str:
    """What keeps the API from its work; empty when nothing does."""
    url = f"http://127.0.0.1:{settings.api_port}/readyz"
    try:
        answer = httpx.get(url, timeout=API_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        return f"{url} gives no answer ({type(error).__name__})"
    return "" if answer.is_success else f"{url} says {answer.status_code}: {answer.text[:200]}"


def worker_ailment(session: Session) -> str:
    """The same of this host's worker: it beats while it lives."""
    names = [worker.name for worker in live_workers(session, SILENCE_S)]
    host = f"{socket.gethostname()}-"
    return "" if any(name.startswith(host) for name in names) else "no worker of this host was heard of lately"


def scheduler_ailment(session: Session) -> str:
    """The same of the scheduler: it leaves no expired lease lying."""
    overdue = select(Shard.id).where(Shard.state == ShardState.RUNNING, Shard.lease_until < db_now(-RECOVERY_OVERDUE_S))
    return "expired leases are not taken back" if session.scalar(overdue.limit(1)) is not None else ""


AILMENTS: dict[str, Callable[[Session], str]] = {"worker": worker_ailment, "scheduler": scheduler_ailment}


def ailment(service: str, settings: Settings) -> str:
    """What keeps a service of this host from its work; empty when nothing does."""
    if service == "api":
        return api_ailment(settings)
    engine = make_engine(settings)
    try:
        with reading(engine) as session:
            if not schema_is_current(session.connection()):
                return "the schema is not current: run `overread migrate`"
            return AILMENTS[service](session)
    except SQLAlchemyError as error:
        return f"the database cannot be reached ({type(error).__name__})"
    finally:
        engine.dispose()


if __name__ == "__main__":
    sys.exit(ailment(sys.argv[1], load_settings()) or None)
