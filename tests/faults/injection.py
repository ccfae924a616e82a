"""What the fault tests share: quick settings, poisoned films, faults inside the product's processes, both databases."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import make_url

from shared.oracle.words import UNREPORTED
from tests.cohorts import film
from tests.system import System, running_system

# Small shards and commits, short leases: the same code, sooner.
QUICK: dict[str, object] = {
    "shard_items": 16,
    "commit_items": 2,
    "worker_concurrency": 2,
    "decode_processes": 1,
    "lease_s": 2,
    "hint_interval_s": 0.5,
    "duty_interval_s": 0.2,
    "retry_backoff_s": 0.2,
    "max_backoff_s": 2,
    "database_timeout_s": 5,
}
# As in sitecustomize.py, which is not imported here: it would put the faults into the tests themselves.
POISON = b"\x01\xfe\x02\xfd\x03\xfc\x04\xfb"
REPORTS_S = 30.0
INJECTED = Path(__file__).parent / "injected" / "sitecustomize.py"


def injecting(folder: Path, **plan: object) -> dict[str, str]:
    """The environment in which every process of the product carries the plan's faults."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(INJECTED, folder)
    (folder / "plan.json").write_text(json.dumps(plan))
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


def has_struck(folder: Path, fault: str) -> bool:
    """Whether a fault of the plan in that folder, one that keeps count, was done at least once."""
    return (folder / f"{fault}.done").exists()


def poisoned_film(patient: str, instance: int) -> bytes:
    """A film whose last pixels kill what decodes it, where the plan says so."""
    good = film(patient, 1, instance)
    return good[: -len(POISON)] + POISON


def constant_film(patient: str, instance: int) -> bytes:
    """A film without any contrast: after preprocessing the only frame whose values are all one."""
    good, side = film(patient, 1, instance), 64
    return good[: -side * side] + bytes([100]) * (side * side)


@contextmanager
def system_on(database: str, postgres_url: str | None, package: Path, **given: Any) -> Iterator[System]:
    """The running product with a model, quick, on SQLite or on a new database of a PostgreSQL server."""
    settings = QUICK | given
    if database == "postgresql":
        assert postgres_url is not None
        settings["database_url"] = new_database(postgres_url)
    with running_system(**settings) as system:
        system.add_model(package)
        yield system


def mount_namespace(*, by_root_only: bool = False) -> tuple[str, ...]:
    """The beginning of a command that gets a mount namespace of its own; empty where the kernel gives none."""
    by_root = [("unshare", "--mount")] if os.geteuid() == 0 else []
    for words in by_root if by_root_only else [("unshare", "-Urm"), *by_root]:
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    return ()


def new_database(postgres_url: str) -> str:
    """The URL of a new, empty database; it goes with the server."""
    from tests.conftest import postgres_admin

    name = f"fault_{uuid4().hex}"
    with postgres_admin(postgres_url) as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = make_url(postgres_url).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


def assert_nothing_lost(system: System, acknowledged: list[str]) -> str:
    """The common oracle over the whole database and content store; gives what it printed.

    Reports follow their jobs, and are waited for.
    """
    listed = system.data_dir.parent / "acknowledged.json"
    listed.write_text(json.dumps(acknowledged))
    command = [*system.beside, sys.executable, "-m", "shared.oracle", "--acknowledged", str(listed)]
    deadline = time.monotonic() + REPORTS_S
    while True:
        done = subprocess.run(
            command, check=False, env=service_environment(system), capture_output=True, text=True, timeout=120
        )
        if UNREPORTED not in done.stdout or time.monotonic() > deadline:
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout


def service_environment(system: System) -> dict[str, str]:
    """The environment of a scheduler of the system: exactly the settings in force, the broker's address included."""
    pid, *_ = system.pids("scheduler")
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(word.decode().split("=", 1) for word in words if b"=" in word)
