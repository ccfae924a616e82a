"""Clients that submit, cancel, retry and read, and ask again until they are answered."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from math import ceil
from uuid import UUID

from api.cli.chaos.films import Patient, zip_of
from api.cli.chaos.ledger import Ledger
from api.cli.client import TRY_AGAIN, Client, Json
from api.cli.errors import ApiError, UnreachableError
from api.cli.jobs import JOBS
from api.cli.upload import UPLOADS
from shared.states import Lane

CLIENTS = 4
MOST_OPEN_SHARDS = 300
MOST_REMEMBERED = 200  # jobs and uploads that a client comes back to
RETRY_S = 0.3
# Shares of the jobs: of files sent before, of these forced, of files sent with the job itself, of many patients.
OF_KNOWN_FILES, FORCED, OF_FILES, LARGE = 0.1, 0.5, 0.5, 0.15
# Lanes, and how often a job is asked for, each as likely as the others.
LANES = (Lane.URGENT, Lane.ROUTINE, Lane.ROUTINE, Lane.BACKGROUND)
ASKED = (1, 1, 1, 2)
NOT_FOUND, CONFLICT, INTERNAL = 404, 409, 500


@dataclass(frozen=True)
class Pace:
    """How much is asked for: `is_wanted` says whether there is room for more; a shard has so many items."""

    is_wanted: Callable[[], bool]
    shard_items: int


class Load:
    """The clients' threads; what they do is chosen by the seed."""

    def __init__(self, client: Client, ledger: Ledger, seed: int, pace: Pace) -> None:
        self._client = client
        self._ledger = ledger
        self._seed = seed
        self._pace = pace
        self._numbers = count(1)
        self._stopped = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send requests as long as the block lasts."""
        threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _run(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")  # noqa: S311 - a load that can be repeated, not a secret
        jobs: list[str] = []
        uploads: list[str] = []
        while not self._stopped.is_set():
            act = chance.choices((self._submit, self._cancel, self._retry, self._read), (12, 1, 1, 2))[0]
            act(chance, jobs, uploads)
            del jobs[:-MOST_REMEMBERED], uploads[:-MOST_REMEMBERED]

    def _submit(self, chance: random.Random, jobs: list[str], uploads: list[str]) -> None:
        """A small or a large job; files at once, or an upload first; some are asked for twice or anew."""
        if not self._pace.is_wanted():
            self._stopped.wait(RETRY_S)
            return
        lane = chance.choice(LANES)
        if uploads and chance.random() < OF_KNOWN_FILES:
            wanted = {"uploads": [chance.choice(uploads)], "priority": lane, "force": chance.random() < FORCED}
            self._acknowledged(chance, jobs, lambda key: self._client.post(JOBS, wanted, key))
            return
        body = zip_of(self._patients(chance))
        if chance.random() < OF_FILES:
            self._acknowledged(chance, jobs, lambda key: self._send(f"{JOBS}?priority={lane}", body, key))
            return
        upload = self._answered(lambda: self._send(UPLOADS, body, {}))
        if upload is not None:
            uploads.append(upload["id"])
            wanted = {"uploads": [upload["id"]], "priority": lane}
            self._acknowledged(chance, jobs, lambda key: self._client.post(JOBS, wanted, key))

    def _send(self, path: str, body: bytes, key: dict[str, str]) -> Json:
        headers = {"Content-Type": "application/zip", "Content-Length": str(len(body))}
        return self._client.stream(path, iter([body]), headers | key)

    def _patients(self, chance: random.Random) -> list[Patient]:
        is_large = chance.random() < LARGE
        number = chance.randint(8, 24) if is_large else 1
        return [Patient(self._seed, next(self._numbers), chance.randint(1, 4)) for _ in range(number)]

    def _cancel(self, chance: random.Random, jobs: list[str], _uploads: list[str]) -> None:
        if jobs:
            # One of the last: it may still be open.
            job_id = chance.choice(jobs[-5:])
            self._answered(lambda: self._client.post(f"{JOBS}/{job_id}/cancel"))

    def _retry(self, chance: random.Random, jobs: list[str], _uploads: list[str]) -> None:
        if jobs:
            job_id = chance.choice(jobs)
            self._acknowledged(chance, jobs, lambda key: self._client.post(f"{JOBS}/{job_id}/retry", None, key))

    def _read(self, chance: random.Random, jobs: list[str], _uploads: list[str]) -> None:
        if jobs:
            job_id = chance.choice(jobs)
            self._answered(lambda: self._client.get(f"{JOBS}/{job_id}"))
            self._answered(lambda: self._client.get("/api/v1/reports", {"job": job_id}))

    def _acknowledged(self, chance: random.Random, jobs: list[str], ask: Callable[[dict[str, str]], Json]) -> None:
        """Ask under one Idempotency-Key until it is answered, now and then twice: the answer must be the same job."""
        key = str(UUID(int=chance.getrandbits(128)))
        for _ in range(chance.choice(ASKED)):
            answer = self._answered(lambda: ask({"Idempotency-Key": key}))
            if answer is None:
                return
            job_id = str(answer["id"])
            pending = int(answer["counts"]["pending"])
            self._ledger.acknowledge(key, job_id, ceil(pending / self._pace.shard_items))
            jobs.append(job_id)

    def _answered(self, ask: Callable[[], Json]) -> Json | None:
        """Ask until there is an answer; None for a no that is one, or when the run ends."""
        while not self._stopped.is_set():
            try:
                return ask()
            except UnreachableError:
                self._ledger.count("no answer")
            except ApiError as error:
                if error.status not in TRY_AGAIN and error.status < INTERNAL:
                    if error.status not in (CONFLICT, NOT_FOUND):
                        self._ledger.count(f"refused with {error.status}")
                    return None
                self._ledger.count(f"asked to come again with {error.status}")
            self._stopped.wait(RETRY_S)
        return None
