"""Figures over time as SVG that the server draws. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720.0, 120.0
TOP, BOTTOM = 8.0, 4.0


@dataclass(frozen=True)
class Bar:
    """A rectangle of the chart's plane, y down, and what it says."""

    x: float
    y: float
    width: float
    height: float
    text: str


def bars(values: Sequence[float], texts: Sequence[str]) -> list[Bar]:
    """A bar for each value, as high as it is beside the largest; of 0 none."""
    largest = max(values, default=0.0)
    step = WIDTH / max(1, len(values))
    room = HEIGHT - TOP - BOTTOM
    found = []
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        height = room * value / largest if largest else 0.0
        if value:
            found.append(Bar(place * step, HEIGHT - BOTTOM - height, step * 0.8, height, text))
    return found
