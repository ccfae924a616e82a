"""How far reviewers and the machine agree, from counts of signed verdicts. Pure.

Reviewers saw the machine's answer before they gave theirs, so agreement is likely higher than between two who read
apart from one another.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from shared.states import Verdict


@dataclass(frozen=True)
class Counted:
    """So many equal verdicts on equal decisions."""

    model_name: str
    model_version: int
    finding: str
    reviewer: str
    decision: bool
    verdict: Verdict
    number: int


@dataclass(frozen=True)
class Group:
    """What is counted together; no reviewer: of all of them."""

    model_name: str
    model_version: int
    finding: str
    reviewer: str | None


@dataclass(frozen=True)
class Rate:
    """A share of `n`; none of nothing."""

    value: float | None
    n: int


@dataclass(frozen=True)
class Agreement:
    """The machine's decisions against what reviewers hold to be true; an unsure one is in no share."""

    both_positive: int = 0
    both_negative: int = 0
    false_positive: int = 0
    false_negative: int = 0
    unsure: int = 0

    @property
    def sure(self) -> int:
        """Verdicts that say whether the finding is there."""
        return self.both_positive + self.both_negative + self.false_positive + self.false_negative

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa (Cohen 1960), (po - pe) / (1 - pe); none where both say the same of all, and pe is 1."""
        if self.sure == 0:
            return None
        machine = self.both_positive + self.false_positive
        reviewer = self.both_positive + self.false_negative
        # Whole numbers, n * n times the shares: equal where they are equal.
        by_chance = machine * reviewer + (self.sure - machine) * (self.sure - reviewer)
        if by_chance == self.sure**2:
            return None
        agreed = (self.both_positive + self.both_negative) * self.sure
        return (agreed - by_chance) / (self.sure**2 - by_chance)

    @property
    def sensitivity(self) -> Rate:
        """Of what reviewers hold to be there, how much the machine found."""
        return _rate(self.both_positive, self.false_negative)

    @property
    def specificity(self) -> Rate:
        """Of what reviewers hold to be absent, how much the machine left out."""
        return _rate(self.both_negative, self.false_positive)


_FIELDS = {
    (True, Verdict.AGREE): "both_positive",
    (False, Verdict.AGREE): "both_negative",
    (True, Verdict.DISAGREE): "false_positive",
    (False, Verdict.DISAGREE): "false_negative",
}


def agreements(counts: Iterable[Counted]) -> Iterator[tuple[Group, Agreement]]:
    """By model, its newest version first, finding and reviewer; before the reviewers of a finding, all together."""
    found: dict[Group, Agreement] = {}
    for one in counts:
        field = "unsure" if one.verdict is Verdict.UNSURE else _FIELDS[one.decision, one.verdict]
        for reviewer in (None, one.reviewer):
            group = Group(one.model_name, one.model_version, one.finding, reviewer)
            known = found.get(group, Agreement())
            found[group] = replace(known, **{field: getattr(known, field) + one.number})
    yield from sorted(found.items(), key=lambda entry: _order(entry[0]))


def _order(group: Group) -> tuple[str, int, str, str]:
    return group.model_name, -group.model_version, group.finding, group.reviewer or ""


def _rate(hits: int, misses: int) -> Rate:
    total = hits + misses
    return Rate(hits / total if total else None, total)
