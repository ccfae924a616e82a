"""The processes that train one network together, each on its part of every batch: what they add up."""

from collections.abc import Sequence
from typing import Any, Protocol


class Peers(Protocol):
    """Sums over all processes, in a step's graph; `rank` is this one's place among `size`."""

    rank: int
    size: int

    def sum(self, tensors: Sequence[Any]) -> Sequence[Any]:
        """Each of the tensors, added up over all processes."""


class Alone:
    """One process learns from the whole of every batch."""

    rank, size = 0, 1

    def sum(self, tensors: Sequence[Any]) -> Sequence[Any]:
        """See `Peers`."""
        return tensors
