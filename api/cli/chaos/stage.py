"""A system of chaos's own in a scratch folder: quick settings, the mission's CNN, nothing of the user's."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.cli import valkey
from api.cli.chaos.broker import Broker
from api.cli.chaos.disk import MIB, SmallDisk
from api.cli.chaos.inject import Ground
from api.cli.chaos.postgres import Postgres, running_postgres
from api.cli.client import Client
from api.cli.demo_model import CONTRACT_FILE, fit_model
from api.cli.embedded import Layout, embedded_system
from api.cli.folders import kept_token, make_private
from api.cli.phantoms import MIN_PATIENTS, write_cohort
from api.cli.registry import add_model
from api.cli.supervisor import RestartPolicy

LOCALHOST = "127.0.0.1"
ANY_FREE_PORT = 0
SHARD_ITEMS = 4
# The same code with short leases and small shards: what takes minutes in a hospital takes seconds here.
QUICK: dict[str, object] = {
    "shard_items": SHARD_ITEMS,
    "commit_items": 2,
    "worker_concurrency": 4,
    "parse_processes": 1,
    "decode_processes": 1,
    "lease_s": 2.0,
    "hint_interval_s": 0.5,
    "duty_interval_s": 0.2,
    "retry_backoff_s": 0.2,
    "max_backoff_s": 2.0,
    "database_timeout_s": 5.0,
    "requests_per_minute": 60_000,
    "min_free_bytes": 16 * MIB,
    "fault_commit_error_rate": 0.01,
    "fault_hint_loss_rate": 0.1,
    "fault_hint_double_rate": 0.1,
    "fault_clock_error_s": 7200.0,
}
# What is killed every few seconds comes back as soon.
POLICY = RestartPolicy(first_wait_s=0.5, longest_wait_s=2.0, most_failed_starts=50)


@dataclass(frozen=True)
class Cast:
    """What runs: so many workers and schedulers, on this kind of database."""

    seed: int
    workers: int
    schedulers: int
    database: str


def data_folder(folder: Path) -> Path:
    """Where the system's data lie in the run's folder; made where it is not there."""
    data_dir = folder / "data"
    make_private(data_dir)
    return data_dir


@contextmanager
def staged(folder: Path, cast: Cast, disk: SmallDisk | None, tell: Callable[[str], None]) -> Iterator[Ground]:
    """The running system with its model, ended with the block; only the PostgreSQL outlives its services."""
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres(folder / "postgresql")) if cast.database != "sqlite" else None
        data_dir = data_folder(folder)
        layout = Layout(
            copies={"worker": cast.workers, "scheduler": cast.schedulers},
            settings=QUICK | _own(data_dir, postgres) | {"fault_seed": cast.seed},
            policy=POLICY,
        )
        tell("making a model ...")
        package = _model(folder, cast.seed)
        tell("starting the system ...")
        system = stack.enter_context(embedded_system(data_dir, LOCALHOST, ANY_FREE_PORT, lambda _: None, layout))
        client = stack.enter_context(Client(system.url, kept_token(data_dir)))
        add_model(client, package)
        yield Ground(system, client, Broker(system.settings), postgres, disk)


def _own(data_dir: Path, postgres: Postgres | None) -> dict[str, object]:
    """Where everything lies: said in full, so that nothing in the environment can lead to another system."""
    return {
        "database_url": f"sqlite:///{data_dir / 'overread.sqlite'}" if postgres is None else postgres.url,
        "broker_url": valkey.broker_url(valkey.default_socket(data_dir)),
        "store_dir": data_dir / "store",
        "admin_token_file": "",
        "worker_lanes": "urgent,routine,background",
    }


def _model(folder: Path, seed: int) -> Path:
    """The mission's CNN, fitted for one epoch: what it says does not matter here, that it says it does."""
    package, cohort, logs = folder / "model", folder / "cohort", folder / "logs"
    make_private(logs)
    if not (package / CONTRACT_FILE).exists():
        write_cohort(cohort, patients=MIN_PATIENTS, seed=seed)
        fit_model(cohort, package, seed, logs, lambda _epoch, _epochs: None, epochs=1)
    return package
