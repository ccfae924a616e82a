"""Values out of a data set as plain, bounded text and numbers: what a file says is cleaned before it is kept."""

import functools
import math
import re
import unicodedata
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from shared.errors import InvalidDicomError
from shared.reasons import Reason

MAX_TEXT = 64  # LO (PS3.5, table 6.2-1), the longest short text we keep
MAX_PERSON_NAME = 324  # PN: five components of 64 characters, with their delimiters
_tag = functools.cache(Tag)
MAX_DECIMAL = 64  # characters; DS has 16 (PS3.5, table 6.2-1), writers exceed it
_INT32 = 2**31 - 1  # what a database column holds; far beyond every limit we set
_UID = re.compile(r"[0-9.]{1,64}")
_NOT_TEXT = frozenset({"Cc", "Cf", "Cs", "Cn"})  # control, format (direction marks), surrogate, unassigned


def first_value(dataset: Dataset, keyword: str) -> Any:
    """The first value of an attribute; None when absent, empty, not readable or too large to be meant."""
    tag = _tag(keyword)
    if tag not in dataset:
        return None
    raw = dataset.get_item(tag, keep_deferred=True)
    if isinstance(raw, RawDataElement) and raw.value is None:
        return None
    try:
        value = dataset[tag].value
    except Exception:  # noqa: BLE001 - pydicom raises whatever the bytes make it raise; the attribute is then unknown
        return None
    if isinstance(value, Sequence):
        return None
    if isinstance(value, (MultiValue, list, tuple)):
        return value[0] if len(value) else None
    return value


def text(dataset: Dataset, keyword: str, limit: int = MAX_TEXT) -> str:
    """The attribute as text without control characters, cut to `limit`; "" when absent."""
    value = first_value(dataset, keyword)
    if value is None:
        return ""
    return clean(value.decode("latin-1") if isinstance(value, bytes) else str(value), limit)


def clean(value: str, limit: int) -> str:
    """Drop what is not text, then the padding, then what is too long."""
    value = value[: limit * 8]
    if not value.isprintable():
        value = "".join(letter for letter in value if unicodedata.category(letter) not in _NOT_TEXT)
    return value.strip()[:limit].rstrip()


def number(dataset: Dataset, keyword: str) -> int:
    """The attribute as an integer that a database column holds; 0 when absent or not a number."""
    value = first_value(dataset, keyword)
    try:
        return max(-_INT32, min(_INT32, int(value)))
    except (TypeError, ValueError, OverflowError):
        return 0


def decimals(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """The attribute as exactly `count` finite numbers; None when it is absent or anything else."""
    tag = _tag(keyword)
    if tag not in dataset:
        return None
    raw = dataset.get_item(tag, keep_deferred=True)
    if isinstance(raw, RawDataElement) and (raw.value is None or len(raw.value) > count * (MAX_DECIMAL + 1)):
        return None
    try:
        value = dataset[tag].value
        found = tuple(float(one) for one in value) if isinstance(value, (MultiValue, list, tuple)) else ()
    except Exception:  # noqa: BLE001 - pydicom raises whatever the bytes make it raise; the attribute is then unknown
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def sequence_items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none when it is absent or cannot be parsed, for then it says nothing."""
    try:
        return list(dataset.get(keyword) or ())
    except Exception:  # noqa: BLE001 - pydicom raises whatever the bytes make it raise
        return []


def uid(dataset: Dataset, keyword: str) -> str:
    """A UID of digits and dots; "" when absent. Raises InvalidDicomError when it is anything else."""
    value = first_value(dataset, keyword)
    if value is None:
        return ""
    found = (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip(" \0")
    if found and not _UID.fullmatch(found):
        raise InvalidDicomError(
            f"{keyword} is not a UID; expected at most 64 digits and dots (PS3.5, section 9)",
            reason=Reason.INVALID_UID,
            attribute=keyword,
        )
    return found
