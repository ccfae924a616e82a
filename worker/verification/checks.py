"""What a check of a report's record found; ids, digests and numbers, never patient data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Of what differs so much is told by name; the first line of the rest says how many more there are.
MOST_TOLD = 20


@dataclass(frozen=True)
class Check:
    """`passed` is None where the report is from before that was recorded; `told` says what differs, or why."""

    name: str
    passed: bool | None
    checked: int
    told: list[str]

    def document(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)


def judged(name: str, checked: int, differing: Sequence[str]) -> Check:
    """Passed where nothing differs."""
    told = list(differing[:MOST_TOLD])
    if len(differing) > MOST_TOLD:
        told.append(f"and {len(differing) - MOST_TOLD} more")
    return Check(name, not differing, checked, told)


def unrecorded(name: str) -> Check:
    """A report from before this was kept."""
    return Check(name, None, 0, ["the report was made before this was recorded"])
