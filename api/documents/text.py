"""Texts of files and of people as documents may show them, and numbers, days and times."""

import unicodedata
from datetime import UTC, datetime, time

from api.documents.chart import day_of
from shared.direction import TURNS

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean(text: str) -> str:
    """Without control characters, turns of direction and halves of characters; those are shown as replaced."""
    return "".join(_clean(character) for character in text).strip()


def _clean(character: str) -> str:
    if character.isspace():
        return " "
    if character in TURNS or unicodedata.category(character) in ("Cc", "Cs"):
        return REPLACEMENT
    return character


def person_name(text: str) -> str:
    """A DICOM name (PS3.5, 6.2: PN), its components as they are, its other representations in brackets."""
    names = [_joined(group.replace("^", " ").split()) for group in clean(text).split("=")]
    first, *others = [name for name in names if name] or [""]
    return f"{first} ({', '.join(others)})" if others else first


def _joined(components: list[str]) -> str:
    """Without spaces where all are ideographs."""
    is_ideographic = all(unicodedata.name(one, "").startswith("CJK ") for one in "".join(components))
    return ("" if is_ideographic else " ").join(components)


def day(text: str) -> str:
    """A DICOM date as ISO 8601, or what stands there in its place."""
    found = day_of(text)
    return found.isoformat() if found else clean(text)


def moment(text: str) -> str:
    """A time to the minute, in UTC."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def due(text: str) -> str:
    """The day of a time, in UTC, and where it is not midnight, the minute."""
    at = datetime.fromisoformat(text).astimezone(UTC)
    return f"{at:%Y-%m-%d}" if at.time() == time() else moment(text)


def probability(value: float) -> str:
    """To three places."""
    return f"{value:.3f}"
