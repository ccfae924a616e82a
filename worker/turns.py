"""Which lane a worker asks first: by weight, so that urgent work leads and background work never stands still."""

import threading
from collections.abc import Mapping, Sequence

from shared.config import Settings
from shared.states import INFERENCE_LANES, Lane


class LaneTurns:
    """Smooth weighted round robin over the lanes that a worker serves; safe to share between threads."""

    def __init__(self, weights: Mapping[Lane, int]) -> None:
        self._weights = dict(weights)
        self._credit = dict.fromkeys(weights, 0)
        self._lock = threading.Lock()

    @classmethod
    def of_settings(cls, settings: Settings) -> "LaneTurns":
        """The inference lanes and weights that are set."""
        served = settings.worker_lanes.split(",")
        return cls({lane: getattr(settings, f"weight_{lane}") for lane in INFERENCE_LANES if lane in served})

    @property
    def lanes(self) -> Sequence[Lane]:
        """The lanes served, most urgent first."""
        return tuple(self._weights)

    def more_urgent_than(self, lane: Lane) -> Sequence[Lane]:
        """The lanes served that go before this one."""
        return self.lanes[: self.lanes.index(lane)]

    def next_order(self) -> Sequence[Lane]:
        """The lane whose turn it is, then the others, most urgent first."""
        with self._lock:
            for lane, weight in self._weights.items():
                self._credit[lane] += weight
            first = max(self._credit, key=lambda lane: self._credit[lane])
            self._credit[first] -= sum(self._weights.values())
        return (first, *(lane for lane in self._weights if lane is not first))
