"""What a check finds: which rows break which promise, named by their ids, never by patient data."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.orm import Session

# So many of the rows that a check finds are named; all are counted.
EXAMPLES = 10
ROWS_AT_ONCE = 1000


class Verdict(StrEnum):
    """Which promise is broken."""

    LOST = "lost"
    DOUBLED = "doubled"
    OLD_FENCE = "written under an old fence"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """Rows that break a promise; `what` is a sentence about one of them."""

    verdict: Verdict
    what: str
    count: int
    examples: tuple[str, ...]


def stream(session: Session, statement: Executable) -> Iterator[Any]:
    """The rows of a query, some at a time: a long table costs no memory."""
    yield from session.execute(statement, execution_options={"yield_per": ROWS_AT_ONCE})


def gather(verdict: Verdict, what: str, names: Iterable[object]) -> Iterator[Finding]:
    """One finding for all that is named; none where nothing is."""
    examples: list[str] = []
    count = 0
    for name in names:
        count += 1
        if len(examples) < EXAMPLES:
            examples.append(str(name))
    if count:
        yield Finding(verdict, what, count, tuple(examples))


def found(session: Session, verdict: Verdict, what: str, noun: str, statement: Executable) -> Iterator[Finding]:
    """A finding for the rows of a query, whose first column is the id of a `noun`."""
    yield from gather(verdict, what, (f"{noun} {row[0]}" for row in stream(session, statement)))
