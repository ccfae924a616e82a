"""Figures as SVG that the server draws: bars over time, and curves. Pure."""

from collections.abc import Mapping, Sequence
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
    is_gap: bool = False


def bars(values: Sequence[float | None], texts: Sequence[str]) -> list[Bar]:
    """A bar for each value, as high as it is beside the largest; of 0 none, and of None a gap from top to bottom."""
    largest = max((value for value in values if value is not None), default=0.0)
    step = WIDTH / max(1, len(values))
    room = HEIGHT - TOP - BOTTOM
    found = []
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        if value is None:
            found.append(Bar(place * step, TOP, step, room, text, is_gap=True))
        elif value:
            height = room * value / largest
            found.append(Bar(place * step, HEIGHT - BOTTOM - height, step * 0.8, height, text))
    return found


# A value across and one up, as they were measured.
Point = tuple[float, float]

PLOT_WIDTH, PLOT_HEIGHT = 320.0, 220.0
PLOT_LEFT, PLOT_RIGHT, PLOT_TOP, PLOT_BOTTOM = 46.0, 308.0, 10.0, 196.0
# So few points are also marked each.
MARKED = 30


@dataclass(frozen=True)
class Span:
    """From which value to which a plot goes."""

    low: float
    high: float

    def place(self, value: float, start: float, end: float) -> float:
        """Where a value lies on the way from `start` to `end`; what is outside lies at the nearer end."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(start + min(1.0, max(0.0, share)) * (end - start), 1)

    def texts(self) -> tuple[str, str]:
        """Its ends, in short."""
        low, high = (f"{end:.3g}" if abs(end) < 1000 else f"{end:,.0f}" for end in (self.low, self.high))  # noqa: PLR2004
        return low, high


@dataclass(frozen=True)
class Curve:
    """A line through points of the plot's plane, y down."""

    name: str
    points: list[Point]

    @property
    def path(self) -> str:
        """As a `polyline` takes it."""
        return " ".join(f"{x},{y}" for x, y in self.points)

    @property
    def marks(self) -> list[Point]:
        """The points themselves, where they are few."""
        return self.points if len(self.points) <= MARKED else []


@dataclass(frozen=True)
class Plot:
    """Curves over the same spans."""

    curves: list[Curve]
    across: Span
    up: Span


def curve(name: str, values: Sequence[Point], across: Span, up: Span) -> Curve:
    """The values where a plot of these spans has them."""
    return Curve(
        name, [(across.place(x, PLOT_LEFT, PLOT_RIGHT), up.place(y, PLOT_BOTTOM, PLOT_TOP)) for x, y in values]
    )


def plot(named: Mapping[str, Sequence[Point]], across: Span, up: Span) -> Plot:
    """A curve for each name that has values."""
    return Plot([curve(name, values, across, up) for name, values in named.items() if values], across, up)
