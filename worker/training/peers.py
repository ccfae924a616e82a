"""The processes that learn one network together: what each has becomes the sum that all have."""

from collections.abc import Sequence
from typing import Any, Protocol

from worker.training.data import WHOLE, Share


class Peers(Protocol):
    """All processes of a training, as one of them sees them."""

    @property
    def share(self) -> Share:
        """The part of every batch that this process works on."""

    def total(self, values: Sequence[Any]) -> list[Any]:
        """The sum over all processes of each of these tensors, in a graph or outside of one.

        Every process gives tensors of the same shapes, in the same order, and gets equal ones.
        """


class Alone:
    """One process that has no peers."""

    share = WHOLE

    def total(self, values: Sequence[Any]) -> list[Any]:
        """They are the sums themselves."""
        return list(values)
