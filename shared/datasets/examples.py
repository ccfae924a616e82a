"""A few samples of each split and class of a frozen list, without reading all of it."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from shared.datasets.document import Head, Sample

# The list is in the order of digests, which is as good as drawn: its beginning shows what all of it is like.
MOST_LINES = 5_000
MOST_EXAMPLES = 240


class Examples(NamedTuple):
    """Samples with the names of their classes, in the order of the list; of so many lines of it."""

    items: list[tuple[str, Sample]]
    looked_at: int


def examples_of(path: Path, sizes: Mapping[str, Mapping[str, int]], per_class: int) -> Examples:
    """Up to `per_class` of each split and class, `sizes` by split and class saying how many there are at all."""
    missing = sum(min(per_class, size) for classes in sizes.values() for size in classes.values())
    missing = min(missing, MOST_EXAMPLES)
    found: list[tuple[str, Sample]] = []
    taken: dict[tuple[str, str], int] = defaultdict(int)
    looked_at = 0
    with path.open("rb") as lines:
        head = Head.model_validate_json(next(lines))
        for line in islice(lines, MOST_LINES):
            if len(found) == missing:
                break
            looked_at += 1
            sample = Sample.model_validate_json(line)
            name = head.classes[sample.label]
            if taken[sample.split, name] < per_class:
                taken[sample.split, name] += 1
                found.append((name, sample))
    return Examples(found, looked_at)
