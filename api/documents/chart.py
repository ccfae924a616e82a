"""The trend of a finding as a drawing: lines, dots and labels on a plane of points, y down. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Literal

WIDTH, HEIGHT = 330.0, 160.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 12.0, 18.0, 24.0
MOST_LABELLED = 12  # of more points only those are labelled at which the model's version changes
MOST_DAYS = 3  # of the days below the axis
ROOM = 18.0  # of a version's label
INSET = ROOM / 2 + 1  # of the first and the last dot, so that their labels stay clear of the axes


@dataclass(frozen=True)
class Line:
    """From one point to another."""

    start: tuple[float, float]
    end: tuple[float, float]
    ink: Literal["axis", "grid", "mark", "curve"]


@dataclass(frozen=True)
class Dot:
    """A result; `text` tells of it."""

    at: tuple[float, float]
    is_over: bool
    text: str


@dataclass(frozen=True)
class Label:
    """A short text; `at` is its baseline's start, middle or end."""

    at: tuple[float, float]
    text: str
    anchor: Literal["start", "middle", "end"]
    ink: Literal["axis", "mark"] = "axis"


@dataclass(frozen=True)
class Drawing:
    """WIDTH x HEIGHT of these; `alt` says in words what it shows."""

    alt: str
    lines: Sequence[Line]
    dots: Sequence[Dot]
    labels: Sequence[Label]


@dataclass(frozen=True)
class Point:
    """What a version of the model said of a study."""

    day: date | None
    probability: float
    version: str
    text: str


def day_of(text: str) -> date | None:
    """A DICOM date (PS3.5, 6.2: DA), none where there is none."""
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - DICOM dates have no zone
    except ValueError:
        return None


def trend_chart(points: Sequence[Point], threshold: float, alt: str) -> Drawing:
    """Probabilities over the days of the studies, or one after the other where a day is unknown."""
    places = [(_x(place), _y(point.probability)) for place, point in zip(_places(points), points, strict=True)]
    curve = [Line(start, end, "curve") for start, end in pairwise(places)]
    mark = Line((LEFT, _y(threshold)), (WIDTH - RIGHT, _y(threshold)), "mark")
    dots = [Dot(at, point.probability >= threshold, point.text) for at, point in zip(places, points, strict=True)]
    labels = [*_scale(), *_days(points, places), *_versions(points, places)]
    return Drawing(alt, [*_grid(), mark, *curve], dots, labels)


def _places(points: Sequence[Point]) -> list[float]:
    """In [0, 1] from left to right."""
    days = [point.day.toordinal() for point in points if point.day is not None]
    if len(days) == len(points) and days[0] < days[-1]:
        return [(day - days[0]) / (days[-1] - days[0]) for day in days]
    last = max(1, len(points) - 1)
    return [number / last for number in range(len(points))]


def _x(place: float) -> float:
    return round(LEFT + INSET + place * (WIDTH - LEFT - RIGHT - 2 * INSET), 2)


def _y(probability: float) -> float:
    return round(TOP + (1.0 - probability) * (HEIGHT - TOP - BOTTOM), 2)


def _grid() -> Iterator[Line]:
    for share in (0.0, 0.5, 1.0):
        yield Line((LEFT, _y(share)), (WIDTH - RIGHT, _y(share)), "axis" if share == 0.0 else "grid")


def _scale() -> Iterator[Label]:
    for share in (0.0, 0.5, 1.0):
        yield Label((LEFT - 5, _y(share) + 3.5), f"{share:.1f}", "end")


def _days(points: Sequence[Point], places: Sequence[tuple[float, float]]) -> Iterator[Label]:
    """The first and the last, and between them as many as have room."""
    taken: list[float] = []
    room = (WIDTH - LEFT - RIGHT) / MOST_DAYS
    for number in (0, len(points) - 1, *range(1, len(points) - 1)):
        x, day = places[number][0], points[number].day
        if day is None or any(abs(x - other) < room for other in taken):
            continue
        taken.append(x)
        anchor: Literal["start", "middle", "end"] = "middle"
        if number == 0:
            anchor = "start"
        elif number == len(points) - 1:
            anchor = "end"
        inset = {"start": -INSET, "middle": 0.0, "end": INSET}[anchor]
        yield Label((x + inset, HEIGHT - 8), day.isoformat(), anchor)


def _versions(points: Sequence[Point], places: Sequence[tuple[float, float]]) -> Iterator[Label]:
    """Of every point that has room for it; always where it is another than that of the point before."""
    last_x = -WIDTH
    for number, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        is_new = number == 0 or points[number - 1].version != point.version
        if is_new or (len(points) <= MOST_LABELLED and x - last_x > ROOM):
            last_x = x
            yield Label((x, y - 6 if y > TOP + 8 else y + 13), point.version, "middle")
