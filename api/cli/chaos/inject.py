"""Does one planned fault to the running system, and waits until what was hit is there again."""

import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from api.cli.chaos.broker import Broker
from api.cli.chaos.disk import SmallDisk
from api.cli.chaos.ledger import Done, Ledger, now
from api.cli.chaos.plan import Kind, Planned
from api.cli.chaos.postgres import Postgres
from api.cli.chaos.processes import children_running, kill_tree, send
from api.cli.client import Client
from api.cli.embedded import RunningSystem
from api.cli.errors import ApiError, UnreachableError
from api.cli.valkey import answers_ping

ENGINE, DECODER = "worker.engines.child", "shared.sandbox.child"
BACK_TIMEOUT_S = 60.0
WORK_TIMEOUT_S = 10.0
POLL_S = 0.05
# So long the disk is full: clients, workers and duties all try to write in this.
DISK_FULL_S = 3.0
# How far past its lease a worker is stopped: recovery looks several times in this.
PAST_THE_LEASE = 1.75


@dataclass(frozen=True)
class Ground:
    """What faults are done to."""

    system: RunningSystem
    client: Client
    broker: Broker
    postgres: Postgres | None
    disk: SmallDisk | None

    def broker_answers(self) -> bool:
        """True when Valkey does."""
        return answers_ping(Path(urlsplit(self.system.settings.broker_url).path))

    def api_answers(self) -> bool:
        """True when the API does, with an answer that it got from the database."""
        return self._answers("/api/v1/jobs", {"limit": "1"})

    def is_ready(self) -> bool:
        """True when the API says that it takes work."""
        return self._answers("/readyz", {})

    def _answers(self, path: str, query: dict[str, str]) -> bool:
        try:
            self.client.get(path, query)
        except (ApiError, UnreachableError):
            return False
        return True

    def running_shards(self) -> int:
        """Shards in the hands of workers; 0 where the API cannot say."""
        try:
            return sum(int(lane["running_shards"]) for lane in self.client.get("/api/v1/queues")["items"])
        except (ApiError, UnreachableError):
            return 0

    def busy_workers(self) -> set[str]:
        """Names of workers that hold shards; none where the API cannot say."""
        try:
            workers = self.client.get("/api/v1/workers")["items"]
        except (ApiError, UnreachableError):
            return set()
        return {str(worker["name"]) for worker in workers if worker["running_shards"]}


class Injector:
    """Does faults, one after the other, and notes them in the ledger."""

    def __init__(self, ground: Ground, ledger: Ledger, stopped: Event) -> None:
        self._ground = ground
        self._ledger = ledger
        self._stopped = stopped

    def do(self, planned: Planned) -> bool:
        """Wait for work to interrupt, do the fault, wait until what it hit is back; False where it had no victim."""
        self._until(lambda: self._ground.running_shards() > 0)
        if self._stopped.is_set():
            return False
        done = self._acts()[planned.kind](planned)
        if done is not None:
            self._ledger.did(done)
        return done is not None

    def _acts(self) -> dict[Kind, Callable[[Planned], Done | None]]:
        broker = self._ground.broker
        return {
            Kind.API_KILLED: self._kill_api,
            Kind.WORKER_KILLED: self._kill_worker,
            Kind.ENGINE_KILLED: lambda planned: self._kill_child(planned, ENGINE),
            Kind.DECODER_KILLED: lambda planned: self._kill_child(planned, DECODER),
            Kind.SCHEDULER_KILLED: self._kill_scheduler,
            Kind.WORKER_STOPPED: self._stop_worker,
            Kind.VALKEY_KILLED: self._kill_valkey,
            Kind.VALKEY_WIPED: self._kill_valkey,
            Kind.POSTGRESQL_KILLED: self._kill_postgres,
            Kind.HINTS_DOUBLED: lambda planned: _message(planned, broker.double_hints),
            Kind.HINTS_STALE: lambda planned: _message(planned, broker.send_stale_hints),
            Kind.HINTS_JUNK: lambda planned: _message(planned, broker.send_junk),
            Kind.HINTS_LOST: lambda planned: _message(planned, broker.lose_hints),
            Kind.DISK_FULL: self._fill_disk,
        }

    def _kill_api(self, planned: Planned) -> Done | None:
        done, killed = Done(planned.kind, now()), self._kill_service("api", planned)
        return self._timed(done, self._ground.api_answers) if killed else None

    def _kill_scheduler(self, planned: Planned) -> Done | None:
        done, killed = Done(planned.kind, now()), self._kill_service("scheduler", planned)
        return done if killed else None

    def _kill_worker(self, planned: Planned) -> Done | None:
        name, pid = self._busy_worker(planned)
        done = Done(planned.kind, now(), worker_name(pid))
        if not kill_tree(pid):
            return None
        self._until(lambda: self._ground.system.supervisor.pids().get(name, pid) != pid, BACK_TIMEOUT_S)
        return done

    def _kill_child(self, planned: Planned, module: str) -> Done | None:
        _, pid = self._busy_worker(planned)
        found = children_running(pid, module)
        done = Done(planned.kind, now(), worker_name(pid))
        killed = bool(found) and send(found[int(planned.choice * len(found))], signal.SIGKILL)
        return done if killed else None

    def _stop_worker(self, planned: Planned) -> Done | None:
        _, pid = self._busy_worker(planned)
        done = Done(planned.kind, now(), worker_name(pid))
        if not send(pid, signal.SIGSTOP):
            return None
        try:
            self._stopped.wait(PAST_THE_LEASE * self._ground.system.settings.lease_s)
        finally:
            send(pid, signal.SIGCONT)
        return done

    def _kill_valkey(self, planned: Planned) -> Done | None:
        done, killed = Done(planned.kind, now()), self._kill_service("valkey", planned, wait=False)
        if not killed:
            return None
        if planned.kind is Kind.VALKEY_WIPED:
            shutil.rmtree(self._ground.system.settings.data_dir / "valkey", ignore_errors=True)
        return self._timed(done, self._ground.broker_answers)

    def _kill_postgres(self, planned: Planned) -> Done | None:
        postgres = self._ground.postgres
        done = Done(planned.kind, now())
        if postgres is None or not postgres.kill():
            return None
        postgres.restart()
        return self._timed(done, self._ground.api_answers)

    def _fill_disk(self, planned: Planned) -> Done | None:
        disk = self._ground.disk
        done = Done(planned.kind, now())
        if disk is None or not disk.fill():
            return None
        try:
            self._stopped.wait(DISK_FULL_S)
        finally:
            disk.make_room()
        return self._timed(done, self._ground.is_ready)

    def _busy_worker(self, planned: Planned) -> tuple[str, int]:
        """A worker that holds shards; any one where none does after a while."""
        busy: dict[str, int] = {}

        def found() -> bool:
            names = self._ground.busy_workers()
            busy.update({name: pid for name, pid in self._running("worker").items() if worker_name(pid) in names})
            return bool(busy)

        self._until(found)
        return _choose(busy, planned.choice) if busy else self._victim("worker", planned)

    def _victim(self, service: str, planned: Planned) -> tuple[str, int]:
        """One of the service's processes; where none runs just now, the next one that does."""
        self._until(lambda: bool(self._running(service)), BACK_TIMEOUT_S)
        return _choose(self._running(service), planned.choice)

    def _running(self, service: str) -> dict[str, int]:
        pids = self._ground.system.supervisor.pids()
        return {name: pid for name, pid in pids.items() if name.partition("-")[0] == service}

    def _kill_service(self, service: str, planned: Planned, *, wait: bool = True) -> bool:
        name, pid = self._victim(service, planned)
        killed = kill_tree(pid)
        if killed and wait:
            self._until(lambda: self._ground.system.supervisor.pids().get(name, pid) != pid, BACK_TIMEOUT_S)
        return killed

    def _timed(self, done: Done, is_back: Callable[[], bool]) -> Done:
        self._until(is_back, BACK_TIMEOUT_S)
        return replace(done, recovered_s=_seconds_since(done.at))

    def _until(self, condition: Callable[[], bool], timeout_s: float = WORK_TIMEOUT_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline_s and not self._stopped.wait(POLL_S):
            pass


def worker_name(pid: int) -> str:
    """What the worker of this process calls itself in history."""
    return f"{socket.gethostname()}-{pid}"


def _choose(pids: dict[str, int], choice: float) -> tuple[str, int]:
    names = sorted(pids)
    name = names[int(choice * len(names))]
    return name, pids[name]


def _message(planned: Planned, act: Callable[[], bool]) -> Done | None:
    done = Done(planned.kind, now())
    return done if act() else None


def _seconds_since(moment: datetime) -> float:
    return (now() - moment).total_seconds()
