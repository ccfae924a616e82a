"""Counts for people, who need no more than "more than 10,000": as fast however many rows there are."""

from typing import Any, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

MOST_COUNTED = 10_000


class Counted(NamedTuple):
    """So many; `is_least`: and more."""

    number: int
    is_least: bool


def count_some(session: Session, rows: Select[Any], most: int) -> Counted:
    """How many rows there are, up to `most`."""
    found = session.scalar(select(func.count()).select_from(rows.limit(most + 1).subquery())) or 0
    return Counted(min(found, most), found > most)
