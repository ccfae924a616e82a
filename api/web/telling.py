"""Figures and moments as people read them; the words come from the catalogue."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

from api.documents.text import clean, day, due

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
STEP = 1024


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


def size(num_bytes: float | None) -> str:
    """512 B, 3.4 MiB or 120 GiB; a dash where there is none."""
    if num_bytes is None:
        return "–"
    power = 0
    while num_bytes >= STEP and power < len(UNITS) - 1:
        num_bytes, power = num_bytes / STEP, power + 1
    return f"{num_bytes:.1f} {UNITS[power]}" if 0 < num_bytes < 10 and power else f"{num_bytes:,.0f} {UNITS[power]}"  # noqa: PLR2004


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
    "size": size,
    "percent": percent,
    "short": short,
    "clean": clean,
    "due": due,
    "day": day,
}
