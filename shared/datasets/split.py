"""Who learns, who chooses, who judges: patients in groups, drawn by a seed, stratified by what they have; pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.draw import drawn_share
from shared.states import Split

# A group with several goes where the most guarded one does.
GUARDED = (Split.HOLDOUT, Split.VAL, Split.TRAIN)


@dataclass(frozen=True)
class Subject:
    """A patient: its settled split, the classes of its instances and the digests of their pixels."""

    key: str
    settled: Split | None
    classes: frozenset[int]
    pixels: frozenset[str]


def splits_of(subjects: Sequence[Subject], *, seed: int, val_share: float) -> dict[str, Split | None]:
    """The split of each patient by key, the same for the same input in any order.

    Patients who share pixels count as one. None: left out, for it shares pixels with a patient of the holdout without
    being in it: no version may learn from it, and it was not set aside at first sight.
    """
    splits: dict[str, Split | None] = {}
    free: dict[tuple[int, ...], list[tuple[float, list[Subject]]]] = defaultdict(list)
    for group in joined(subjects):
        settled = next((split for split in GUARDED if any(one.settled is split for one in group)), None)
        if settled is Split.HOLDOUT:
            splits |= {one.key: Split.HOLDOUT if one.settled is Split.HOLDOUT else None for one in group}
        elif settled is not None:
            splits |= {one.key: settled for one in group}
        else:
            classes = tuple(sorted({label for one in group for label in one.classes}))
            place = drawn_share(str(seed), min(one.key for one in group))
            free[classes].append((place, group))
    for groups in free.values():
        groups.sort(key=lambda pair: pair[0])
        num_val = round(val_share * len(groups))
        for at, (_, group) in enumerate(groups):
            splits |= {one.key: Split.VAL if at < num_val else Split.TRAIN for one in group}
    return splits


def joined(subjects: Iterable[Subject]) -> list[list[Subject]]:
    """Groups of patients who share pixels, directly or through others, in the order of their keys."""
    ordered = sorted(subjects, key=lambda one: one.key)
    roots: dict[str, str] = {one.key: one.key for one in ordered}

    def root(key: str) -> str:
        while roots[key] != key:
            roots[key] = roots[roots[key]]
            key = roots[key]
        return key

    first: dict[str, str] = {}
    for one in ordered:
        for digest in one.pixels:
            mine, other = root(one.key), root(first.setdefault(digest, one.key))
            roots[max(mine, other)] = min(mine, other)
    groups: dict[str, list[Subject]] = defaultdict(list)
    for one in ordered:
        groups[root(one.key)].append(one)
    return list(groups.values())
