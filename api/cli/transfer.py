"""Sends files to an upload: only the bytes the server lacks, several batches at once, again after a break."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from api.cli.client import Client, Json, patiently
from api.cli.collect import LocalFile, in_batches, is_zip
from api.cli.multipart import MultipartBody, read_file

THREADS = 4
ATTEMPTS = 8  # with their waits about a minute and a half: a server that restarts is back by then


@dataclass
class TransferResult:
    """What became of the files; `rejected` holds the server's own words on each."""

    stored: int = 0
    duplicate: int = 0
    rejected: list[Json] = field(default_factory=list)


class StoppedError(Exception):
    """Another batch failed for good, or the user pressed Ctrl-C."""


class Transfer:
    """One way of files to an upload; a second one on the same upload sends what is still missing.

    `refused` are entries, by sha256, that the upload rejected before: the server does not ask for them again.
    A zip has no digest the server knows, so it always goes whole; the server tells what it had already.
    """

    def __init__(
        self, client: Client, upload_id: str, on_bytes: Callable[[int], None], refused: Mapping[str, Json] | None = None
    ) -> None:
        self._client = client
        self._refused = refused or {}
        self._path = f"/api/v1/uploads/{upload_id}"
        self._on_bytes = on_bytes
        self._result = TransferResult()
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def run(self, files: Sequence[LocalFile]) -> TransferResult:
        """Send them all; the first batch that fails for good ends the rest, and its error is raised."""
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="transfer")
        try:
            futures = [pool.submit(self._send_batch, batch) for batch in in_batches(files)]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # When all went well this does nothing; after an error or Ctrl-C it frees the threads.
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
        errors = [error for future in done if (error := future.exception()) is not None]
        for error in errors:
            if not isinstance(error, StoppedError):
                raise error
        return self._result

    def _send_batch(self, files: list[LocalFile]) -> None:
        zips = {file.path for file in files if is_zip(file.path)}
        by_digest = self._first_of_each(file for file in files if file.path not in zips)
        whole = [file for file in files if file.path in zips]
        tried: set[str] = set()
        patiently(lambda: self._send_missing(by_digest, whole, tried), ATTEMPTS, self._pause)

    def _first_of_each(self, files: Iterable[LocalFile]) -> dict[str, LocalFile]:
        """The files by sha256, without those whose bytes another file of this submission has."""
        first: dict[str, LocalFile] = {}
        for file in files:
            digest = hashlib.sha256()
            for chunk in read_file(file):
                self._go_on()
                digest.update(chunk)
            with self._lock:
                is_new = digest.hexdigest() not in self._seen
                self._seen.add(digest.hexdigest())
                self._result.duplicate += not is_new
            if is_new:
                first[digest.hexdigest()] = file
            else:
                self._on_bytes(file.size_bytes)
        return first

    def _send_missing(self, by_digest: dict[str, LocalFile], whole: list[LocalFile], tried: set[str]) -> None:
        """One attempt at a batch; `tried`: digests sent by an earlier attempt whose answer was lost."""
        self._go_on()
        missing = set(by_digest)
        if by_digest:
            names = {digest: file.name for digest, file in by_digest.items()}
            asked = {"sha256": list(by_digest), "names": names}
            missing &= set(self._client.post(f"{self._path}/missing", asked)["missing"])
        arrived_before = len(tried - missing)
        refused = [
            self._refused[digest] | {"name": file.name}
            for digest, file in by_digest.items()
            if digest in self._refused and digest not in missing | tried
        ]
        already_there = len(by_digest) - len(missing) - arrived_before - len(refused)
        tried |= missing
        to_send = [file for digest, file in by_digest.items() if digest in missing] + whole
        answer = self._send(to_send) if to_send else {"files": []}
        outcomes = [entry["outcome"] for entry in answer["files"]]
        with self._lock:
            self._result.stored += outcomes.count("stored") + arrived_before
            self._result.duplicate += outcomes.count("duplicate") + already_there
            self._result.rejected += [entry for entry in answer["files"] if entry["outcome"] == "rejected"] + refused
        self._on_bytes(sum(file.size_bytes for digest, file in by_digest.items() if digest not in missing))

    def _send(self, files: list[LocalFile]) -> Json:
        sent_bytes = 0

        def count(size_bytes: int) -> None:
            nonlocal sent_bytes
            self._go_on()
            sent_bytes += size_bytes
            self._on_bytes(size_bytes)

        body = MultipartBody(files)
        try:
            return self._client.stream(self._path, body.chunks(count), body.headers)
        except BaseException:
            self._on_bytes(-sent_bytes)
            raise

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise StoppedError

    def _pause(self, wait_s: float) -> None:
        self._stopped.wait(wait_s)
        self._go_on()
