"""Figures and moments as people read them; the words come from the catalogue."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

from api.documents.text import clean, day, due

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
KIB, MIB = 1024, 1024 * 1024


def number(value: float | None) -> str:
    """12,345 or 0.7; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:,.2g}"  # noqa: PLR2004


def span(seconds: float | None) -> str:
    """45 s, 12 min, 3 h 20 min, 2 d 4 h; a dash where there is none."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min"
    if whole < DAY_S:
        return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S} min"
    return f"{whole // DAY_S} d {whole % DAY_S // HOUR_S} h"


def moment(given: str | datetime | None) -> Markup:
    """A `time` in UTC that `times.js` puts into the reader's own zone; a dash where there is none."""
    if given is None:
        return Markup("–")
    at = datetime.fromisoformat(given) if isinstance(given, str) else given
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), at.strftime("%Y-%m-%d %H:%M UTC"))


def mebibytes(value: float) -> str:
    """Bytes in MiB."""
    return f"{value / MIB:,.0f} MiB"


def file_size(value: int) -> str:
    """Bytes in KiB, from 1 MiB on in MiB."""
    return f"{-(-value // KIB):,} KiB" if value < MIB else mebibytes(value)


def percent(share: float) -> str:
    """A share of 0 to 1; never 100 % before it is whole."""
    return f"{min(int(share * 100), 99) if share < 1 else 100} %"


def short(identifier: str) -> Markup:
    """The end of a UUIDv7, which is the part that differs; the whole of it on hovering."""
    return Markup('<span class="id" title="{}">{}</span>').format(identifier, escape(identifier[-8:]))


FILTERS: dict[str, Callable[[Any], str]] = {
    "number": number,
    "span": span,
    "moment": moment,
    "mebibytes": mebibytes,
    "file_size": file_size,
    "percent": percent,
    "short": short,
    "clean": clean,
    "due": due,
    "day": day,
}
