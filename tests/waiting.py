"""What jobs wait for: a worker that lives, a lane's measured pace, a real broker that can be killed."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert

from api.cli.valkey import answers_ping, default_socket, valkey_service
from shared.clock import utc_now
from shared.models import Pace
from shared.repositories.pace import BUCKET_S
from shared.repositories.workers import Beat, beat
from shared.states import Lane
from shared.unit_of_work import UnitOfWork
from tests.system import eventually

BEAT = Beat(lanes=[str(lane) for lane in Lane], concurrency=1, engines=[], loading=[], rss_bytes=1)


def add_worker(engine: Engine, name: str = "worker-1", **said: Any) -> None:
    """A worker that was just heard of; it serves every lane, unless `said` otherwise."""
    with UnitOfWork(engine) as uow:
        beat(uow.session, name, replace(BEAT, **said))


def add_pace(engine: Engine, per_bucket: list[int], lane: Lane = Lane.ROUTINE) -> None:
    """As if so many items of the lane had got an outcome in each of the last whole buckets, oldest first."""
    now = utc_now()
    rows = [
        {"lane": lane, "at": now - timedelta(seconds=BUCKET_S * (age + 1)), "items": items}
        for age, items in enumerate(reversed(per_bucket), start=1)
    ]
    with UnitOfWork(engine) as uow:
        for row in rows:
            uow.session.execute(insert(Pace).values(row))


@contextmanager
def running_valkey(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The broker that the settings of this data folder name; killed with the block, if not before."""
    socket = default_socket(data_dir)
    service = valkey_service(data_dir, socket, {})
    assert service.prepare is not None
    service.prepare()
    with subprocess.Popen(service.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: answers_ping(socket), 20.0, "Valkey answers", interval_s=0.01)
            yield process
        finally:
            process.kill()
