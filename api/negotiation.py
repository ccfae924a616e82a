"""Which of several kinds of a thing a request prefers (RFC 9110, 12.5.1)."""

from collections.abc import Iterable, Sequence

from werkzeug.http import parse_options_header

# Parameters by which offers differ; others, such as a charset, say nothing of what is wanted here.
_TELLING = frozenset({"fhirversion"})
Range = tuple[str, dict[str, str]]


def preferred(accepted: Iterable[tuple[str, float]], offers: Sequence[str]) -> str | None:
    """The offered media type of the highest quality, the first of equals; none where all are refused.

    Where nothing is said, all is welcome.
    """
    ranges = [(_parsed(value), quality) for value, quality in accepted] or [(_parsed("*/*"), 1.0)]
    qualities = [_quality(_parsed(offer), ranges) for offer in offers]
    best = max(qualities, default=0.0)
    return offers[qualities.index(best)] if best > 0 else None


def _parsed(value: str) -> Range:
    media_type, parameters = parse_options_header(value)
    telling = {name.lower(): text.lower() for name, text in parameters.items() if name.lower() in _TELLING}
    return media_type.lower(), telling


def _quality(offer: Range, ranges: Sequence[tuple[Range, float]]) -> float:
    """That of the range that fits most closely."""
    fits = [(_closeness(offer, one), quality) for one, quality in ranges]
    closest = max((closeness for closeness, _ in fits), default=0)
    return max((quality for closeness, quality in fits if closeness == closest), default=0.0) if closest else 0.0


def _closeness(offer: Range, wanted: Range) -> int:
    """0 where it does not fit at all."""
    (media_type, parameters), (range_type, range_parameters) = offer, wanted
    if range_type == media_type:
        if any(parameters.get(name) != text for name, text in range_parameters.items()):
            return 0
        return 3 + len(range_parameters)
    if range_type == media_type.partition("/")[0] + "/*":
        return 2
    return 1 if range_type == "*/*" else 0
