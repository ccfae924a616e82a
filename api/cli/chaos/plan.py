"""Which fault comes when: the same plan by the same seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The faults, by the names that the table shows."""

    API_KILLED = "API killed"
    WORKER_KILLED = "worker killed"
    ENGINE_KILLED = "engine killed"
    DECODER_KILLED = "decoder killed"
    SCHEDULER_KILLED = "scheduler killed"
    WORKER_STOPPED = "worker stopped past its lease"
    VALKEY_KILLED = "Valkey killed"
    VALKEY_WIPED = "Valkey killed and wiped"
    POSTGRESQL_KILLED = "PostgreSQL killed"
    HINTS_DOUBLED = "hints doubled"
    HINTS_STALE = "hints stale"
    HINTS_JUNK = "hints of junk and pickle"
    HINTS_LOST = "hints lost"
    DISK_FULL = "disk full"


# Why a fault cannot be had by every run.
NOT_HAD = {
    Kind.POSTGRESQL_KILLED: "the database is SQLite",
    Kind.DISK_FULL: "no mount namespace could be had (beside PostgreSQL: only by root)",
}


@dataclass(frozen=True)
class Planned:
    """A fault, how long to wait before it, and which of several victims it hits, from 0 to 1."""

    kind: Kind
    wait_s: float
    choice: float


def kinds_on(database: str, *, has_disk: bool) -> list[Kind]:
    """The faults that can be had with this kind of database, with a disk of the run's own or without."""
    not_had = set() if database == "postgresql" else {Kind.POSTGRESQL_KILLED}
    not_had |= set() if has_disk else {Kind.DISK_FULL}
    return [kind for kind in Kind if kind not in not_had]


def plan(seed: int, kinds: Sequence[Kind], every_s: float) -> Iterator[Planned]:
    """Faults without end, on average one in `every_s`: all kinds in each round, in an order by chance."""
    chance = random.Random(seed)  # noqa: S311 - a plan that can be repeated, not a secret
    while True:
        for kind in chance.sample(kinds, len(kinds)):
            yield Planned(kind, chance.uniform(0.5 * every_s, 1.5 * every_s), chance.random())
