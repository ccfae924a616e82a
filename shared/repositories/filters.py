"""Conditions of a list that can be narrowed by many things."""

from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute


def as_given(*pairs: tuple[InstrumentedAttribute[Any], Any]) -> list[ColumnElement[bool]]:
    """That a column has this value, for each value that is given: None is not."""
    return [column == value for column, value in pairs if value is not None]
