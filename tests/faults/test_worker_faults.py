"""Workers, engines and decode children that die, hang or come back late; and the one instance that kills them."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from tests.cohorts import film, films, zipped
from tests.faults.conftest import Systems
from tests.faults.injection import (
    assert_nothing_lost,
    constant_film,
    injecting,
    poisoned_film,
    service_environment,
)
from tests.system import System, eventually

NEIGHBOURS = 19


def _study(killer: bytes) -> bytes:
    """A killer among its neighbours, in the middle."""
    good = [(f"{number:02d}.dcm", film("POISON", 1, number)) for number in range(NEIGHBOURS)]
    return zipped([*good[:9], ("killer.dcm", killer), *good[9:]])


def _assert_only_the_killer_is_quarantined(system: System, job_id: str, reason: str, tries: int) -> dict[str, Any]:
    job = system.finished(job_id, 300.0)
    items = {item["name"]: item for item in system.items(job_id)}
    killer = items.pop("killer.dcm")
    assert job["counts"] == job["counts"] | {"done": NEIGHBOURS, "failed": 1}
    assert {item["state"] for item in items.values()} == {"done"}
    assert (killer["state"], killer["reason"], killer["quarantined"]) == ("failed", reason, True)
    assert killer["evidence"]["tries"] == tries
    assert killer["evidence"]["sha256"] == killer["sha256"]
    assert_nothing_lost(system, [job_id])
    return dict(killer)


@dataclass(frozen=True)
class Killer:
    """A fault of the plan, the film on which it strikes, and what is to be recorded of that film."""

    fault: str
    film: bytes
    reason: str
    tries: int
    signal: str
    failure: str


KILLERS = {
    "decoder": Killer("decode_segfault", poisoned_film("POISON", 99), "decode_crashed", 2, "SIGSEGV", "crash"),
    "engine": Killer("engine_segfault", constant_film("POISON", 99), "engine_crashed", 3, "SIGSEGV", "crash"),
    "hang": Killer("engine_hang", constant_film("POISON", 99), "engine_timeout", 3, "timeout", "timeout"),
}


@pytest.mark.parametrize("kind", ["decoder", "engine", pytest.param("hang", marks=pytest.mark.slow_fault)])
def test_instance_that_ends_its_process_is_quarantined_and_no_other(
    systems: Systems, data_dir: Path, kind: str
) -> None:
    killer = KILLERS[kind]
    with systems(environment=injecting(data_dir / "inject", **{killer.fault: True}), engine_timeout_s=2) as system:
        worker = system.pids("worker")

        job = system.submit(_study(killer.film))

        item = _assert_only_the_killer_is_quarantined(system, job["id"], killer.reason, killer.tries)
        assert (item["evidence"]["signal"], item["failure"]) == (killer.signal, killer.failure)
        assert system.pids("worker") == worker


@pytest.mark.slow_fault
def test_instance_that_kills_the_worker_is_quarantined_after_three(systems: Systems, data_dir: Path) -> None:
    with systems(environment=injecting(data_dir / "inject", worker_dies_of_poison=True)) as system:
        job = system.submit(_study(poisoned_film("POISON", 99)))

        _assert_only_the_killer_is_quarantined(system, job["id"], "worker_crashed", tries=3)


@pytest.mark.slow_fault
def test_model_that_kills_the_engine_fails_its_job_and_no_other(systems: Systems, data_dir: Path) -> None:
    with systems(environment=injecting(data_dir / "inject", load_segfault=True)) as system:
        job = system.submit(films("load", 4))

        job = system.finished(job["id"])
        assert job["counts"]["failed"] == 4
        assert {item["reason"] for item in system.items(job["id"])} == {"worker_crashed"}
        assert any(move["after"] == "quarantined" for move in system.history(job["id"]))
        assert_nothing_lost(system, [job["id"]])


@pytest.mark.slow_fault
def test_every_job_is_done_when_the_worker_is_killed_again_and_again(systems: Systems) -> None:
    chance = random.Random(5)
    with systems() as system:
        jobs = [system.submit(films(f"killed{number}", 4))["id"] for number in range(200)]
        ended = {"jobs": 0}

        def moved() -> bool:
            done = sum(system.job(job)["state"] == "done" for job in jobs)
            is_more, ended["jobs"] = done > ended["jobs"], done
            return is_more

        while ended["jobs"] < len(jobs):
            eventually(moved, 100.0, "the worker moves again", interval_s=chance.uniform(0.1, 2.0))
            system.kill("worker")

        for job in jobs:
            claims = [move["attempt"] for move in system.history(job) if move["after"] == "running" and move["shard"]]
            assert max(claims) <= 20
        assert_nothing_lost(system, jobs)


def _stop_between_transactions(pid: int, database_url: str) -> None:
    """SIGSTOP at an instant when the process holds no lock: what it held, all would wait for until it went on."""

    def stopped_without_lock() -> bool:
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: _every_thread_stands(pid), 10.0, "every thread of the worker stands", interval_s=0.001)
        if _nobody_holds_a_lock(database_url):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    eventually(stopped_without_lock, 60.0, "the worker is stopped between two transactions", interval_s=0.05)


def _every_thread_stands(pid: int) -> bool:
    """A thread that is still on its way to stand can take a lock: 'T' in its state (proc(5), stat)."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


def _nobody_holds_a_lock(database_url: str) -> bool:
    """Within a second: living processes are done with their transactions in much less."""
    engine = create_engine(database_url, connect_args={"timeout": 1} if "sqlite" in database_url else {})
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return True
            time.sleep(1.0)
            open_since_then = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND state LIKE 'idle in transaction%%' AND state_change < now() - interval '0.9 seconds'"
            )
            return connection.exec_driver_sql(open_since_then).scalar_one() == 0
    except OperationalError:
        return False
    finally:
        engine.dispose()


def test_late_writes_are_void_when_a_stopped_worker_comes_back(systems: Systems) -> None:
    with systems(shard_items=64) as system:
        (stopped,) = system.pids("worker")
        job = system.submit(films("late", 120, instances=2))["id"]
        eventually(lambda: system.job(job)["counts"]["done"] > 0, 60.0, "the first worker is at it", interval_s=0.01)

        environment = service_environment(system)
        _stop_between_transactions(stopped, environment["OVERREAD_DATABASE_URL"])
        log = (system.data_dir / "logs" / "second-worker.log").open("wb")
        second = subprocess.Popen([sys.executable, "-m", "worker.serve"], env=environment, stdout=log, stderr=log)
        try:
            done = system.finished(job)
            os.kill(stopped, signal.SIGCONT)
            log_of_first = system.data_dir / "logs" / "worker.log"
            eventually(lambda: "fenced_out" in log_of_first.read_text(), 30.0, "the late worker hears of it")
        finally:
            second.terminate()
            second.wait(timeout=30)
            log.close()

        assert done["counts"]["done"] == 240
        assert any(move["reason"] == "lease ran out" for move in system.history(job))
        assert_nothing_lost(system, [job])


@pytest.mark.slow_fault
def test_attempt_does_not_count_when_a_worker_is_asked_to_end(systems: Systems) -> None:
    with systems(shard_items=64) as system:
        job = system.submit(films("term", 120, instances=2))["id"]
        eventually(lambda: system.job(job)["counts"]["done"] > 0, 60.0, "the worker is at it", interval_s=0.01)

        system.signal("worker", signal.SIGTERM)

        assert system.finished(job)["counts"]["done"] == 240
        moves = [move for move in system.history(job) if move["shard"]]
        given_back = [move for move in moves if move["reason"] == "worker is stopping"]
        assert given_back
        assert not [move for move in moves if move["reason"] == "lease ran out"]
        assert max(move["attempt"] for move in moves) == 1
        assert_nothing_lost(system, [job])
