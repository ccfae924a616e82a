"""What one token may ask for: so many requests a minute, and so many instances at once."""

import math
import threading
import time
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.config import Settings
from shared.errors import InvalidRequestError, TooManyRequestsError
from shared.models import Token
from shared.repositories.jobs import open_items_of
from shared.repositories.pace import measured
from shared.states import Lane

# A client may send at once what it may send in so long.
BURST_S = 10.0
# More tokens than this are not in use at once.
MOST_REMEMBERED = 10_000
SHORTEST_WAIT_S, UNMEASURED_WAIT_S, LONGEST_WAIT_S = 5, 30, 3600


class RequestRates:
    """A token bucket for each token of this API process; shared by its threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._buckets: dict[UUID, tuple[float, float]] = {}

    def check(self, token_id: UUID, per_minute: int) -> None:
        """Count a request; raises TooManyRequestsError when the token sent too many lately."""
        rate = per_minute / 60.0
        burst = max(1.0, rate * BURST_S)
        with self._lock:
            now = self._now()
            left, at = self._buckets.get(token_id, (burst, now))
            left = min(burst, left + (now - at) * rate)
            if left >= 1.0:
                self._buckets.pop(token_id, None)
                self._buckets[token_id] = (left - 1.0, now)
                self._forget()
                return
        raise TooManyRequestsError(
            f"This token may send {per_minute} requests a minute, and sent more; send fewer, or ask an admin for more.",
            retry_after_s=math.ceil((1.0 - left) / rate),
        )

    def _forget(self) -> None:
        """Drop what was not used for longest: it is full again soon after."""
        while len(self._buckets) > MOST_REMEMBERED:
            self._buckets.pop(next(iter(self._buckets)))


def check_open_items(session: Session, token_id: UUID, lane: Lane, wanted: int, settings: Settings) -> None:
    """Raise TooManyRequestsError when `wanted` more open items are more than the token may have.

    Its row stays locked until the transaction ends, so that submissions at the same time cannot pass together.
    """
    if not wanted:
        return
    # FOR NO KEY UPDATE: rows that others write meanwhile refer to the token and must not wait.
    statement = select(Token.max_open_items).where(Token.id == token_id).with_for_update(key_share=True)
    own_limit = session.scalar(statement)
    limit = settings.max_open_items if own_limit is None else own_limit
    if wanted > limit:
        raise InvalidRequestError(
            f"The job has {wanted} instances to predict on, and this token may have {limit} open at once: "
            "split the job, or ask an admin for a higher limit."
        )
    still_open = open_items_of(session, token_id)
    if still_open + wanted > limit:
        raise TooManyRequestsError(
            f"{still_open} instances of this token's jobs are open, and with this job's {wanted} there would be more "
            f"than the {limit} allowed: wait until some are done, or cancel jobs, and send it again.",
            retry_after_s=_wait_s(session, lane, still_open + wanted - limit),
        )


def _wait_s(session: Session, lane: Lane, too_many: int) -> int:
    """How long the lane needs for so many, as it was measured."""
    rate = measured(session).get(lane)
    if rate is None or rate.items_per_s <= 0:
        return UNMEASURED_WAIT_S
    return min(max(SHORTEST_WAIT_S, math.ceil(too_many / rate.items_per_s)), LONGEST_WAIT_S)
