"""Sends what is due, each receiver in a thread of its own for a while: a slow one holds up no other."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from threading import Event, Lock

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from scheduler.notices.post import Outcome, Poster
from scheduler.notices.signature import body_bytes, signature
from shared.backoff import backoff_s
from shared.clock import utc_now
from shared.config import Settings
from shared.db import reading
from shared.outage import is_outage
from shared.repositories.deliveries import (
    ClaimedNotice,
    Delivery,
    claim_delivery,
    give_back,
    put_off,
    settle_dead,
    settle_sent,
    webhooks_to_serve,
)
from shared.unit_of_work import UnitOfWork

log = structlog.get_logger()

THREADS = 8
# Claimed and settled together, to spare the database; sent one after the other.
NOTICES_AT_ONCE = 10
# A receiver with more than that waits for its turn again, behind the others.
TURN_S = 10.0
# A receiver that failed is left alone for a while, longer each time; each notice has its own, longer wait beside that.
FIRST_REST_S, MAX_REST_S = 1.0, 60.0
RETRY_S = 0.5

Settled = list[tuple[ClaimedNotice, Outcome | None]]


class Sender:
    """Serves all webhooks until it is told to stop; safe beside others: a webhook is served by one at a time."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._poster = Poster(settings)
        self._stop = Event()
        self._lock = Lock()
        self._busy: set[int] = set()
        # By webhook: how often in a row it failed, and until when it is left alone.
        self._resting: dict[int, tuple[int, float]] = {}

    def stop(self) -> None:
        """End after the requests that are under way."""
        self._stop.set()

    def run(self) -> None:
        """Look for what is due, again and again, until `stop`."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="notices") as pool:
            while not self._stop.is_set():
                try:
                    for webhook_id in self._to_serve():
                        pool.submit(self._serve, webhook_id)
                except Exception as error:  # noqa: BLE001 - the boundary of this thread
                    log.error("notices_not_looked_at", error=type(error).__name__)  # noqa: TRY400
                self._stop.wait(self._settings.duty_interval_s)

    def _to_serve(self) -> list[int]:
        """Webhooks that are served neither here nor elsewhere and do not rest; they are busy from here on."""
        with reading(self._engine) as session:
            due = webhooks_to_serve(session)
        now_s = time.monotonic()
        with self._lock:
            free = [one for one in due if one not in self._busy and self._resting.get(one, (0, 0.0))[1] <= now_s]
            self._busy.update(free)
        return free

    def _serve(self, webhook_id: int) -> None:
        """Send to one webhook until nothing is due, it fails, or others have waited long enough."""
        until_s = time.monotonic() + TURN_S
        try:
            while not self._stop.is_set() and time.monotonic() < until_s:
                with UnitOfWork(self._engine) as uow:
                    lease_s = self._settings.webhook_lease_s
                    delivery = claim_delivery(uow.session, webhook_id, lease_s, NOTICES_AT_ONCE)
                if delivery is None:
                    return
                claimed_at_s = time.monotonic()
                # What is begun in the first half of the lease ends in the second.
                settled = self._send(delivery, min(until_s, claimed_at_s + lease_s / 2))
                self._settle(settled, claimed_at_s + lease_s)
                if self._note(webhook_id, settled):
                    return
        except Exception as error:  # noqa: BLE001 - the boundary of this thread
            log.error("notices_not_sent", webhook=webhook_id, error=type(error).__name__)  # noqa: TRY400
        finally:
            with self._lock:
                self._busy.discard(webhook_id)

    def _send(self, delivery: Delivery, until_s: float) -> Settled:
        """Each with what came of it; none of those behind one that failed, or that there was no time for."""
        settled: Settled = []
        for notice in delivery.notices:
            failed = bool(settled) and (settled[-1][1] is None or settled[-1][1].error != "")
            over = bool(settled) and (self._stop.is_set() or time.monotonic() >= until_s)
            settled.append((notice, None if failed or over else self._post(delivery, notice)))
        return settled

    def _post(self, delivery: Delivery, notice: ClaimedNotice) -> Outcome:
        body, timestamp = body_bytes(notice.body), str(int(utc_now().timestamp()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Overread",
            "Overread-Event": notice.event,
            "Overread-Delivery": str(notice.id),
            "Overread-Timestamp": timestamp,
            "Overread-Signature": signature(delivery.secret, timestamp, body),
        }
        return self._poster.post(delivery.url, body, headers)

    def _settle(self, settled: Settled, held_until_s: float) -> None:
        """Write what came of them, again and again while they are ours: what arrived should not be sent twice."""
        while True:
            try:
                with UnitOfWork(self._engine) as uow:
                    for notice, outcome in settled:
                        self._settle_one(uow.session, notice, outcome)
            except SQLAlchemyError as error:
                if not is_outage(error) or time.monotonic() >= held_until_s or self._stop.wait(RETRY_S):
                    raise
            else:
                return

    def _settle_one(self, session: Session, notice: ClaimedNotice, outcome: Outcome | None) -> None:
        settings = self._settings
        if outcome is None:
            give_back(session, notice)
        elif not outcome.error and outcome.status is not None:
            settle_sent(session, notice, outcome.status)
        elif outcome.status == HTTPStatus.GONE or notice.attempt >= settings.webhook_attempts:
            settle_dead(session, notice, outcome.status, outcome.error)
        else:
            delay_s = backoff_s(settings.webhook_backoff_s, notice.attempt, settings.webhook_max_backoff_s)
            put_off(session, notice, outcome.status, outcome.error, delay_s)

    def _note(self, webhook_id: int, settled: Sequence[tuple[ClaimedNotice, Outcome | None]]) -> bool:
        """True where the webhook failed, so that it rests; one that answers again is served without a pause."""
        failed = any(outcome is not None and outcome.error for _, outcome in settled)
        with self._lock:
            failures = self._resting.pop(webhook_id, (0, 0.0))[0] + 1
            if failed:
                first_s = min(FIRST_REST_S, self._settings.webhook_backoff_s)
                rest_s = backoff_s(first_s, failures, min(MAX_REST_S, self._settings.webhook_max_backoff_s))
                self._resting[webhook_id] = failures, time.monotonic() + rest_s
        return failed
