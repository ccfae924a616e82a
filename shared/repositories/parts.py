"""Long lists of values in parts that every database takes in one query."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Value = TypeVar("Value")

# SQLite and PostgreSQL bound the parameters of a statement; short lists also keep the statement cache small.
QUERY_VALUES = 500


def in_parts(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """The values in order, at most QUERY_VALUES at a time."""
    for start in range(0, len(values), QUERY_VALUES):
        yield values[start : start + QUERY_VALUES]
