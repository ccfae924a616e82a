"""A report as a reader sees it, block by block; HTML and PDF set the same page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from api.documents.chart import Drawing


class Tone(StrEnum):
    """How a text stands out."""

    PLAIN = "plain"
    STRONG = "strong"
    WARNING = "warning"
    FINE = "fine"  # print


@dataclass(frozen=True)
class Cell:
    """A text of a table, with small print below it."""

    text: str
    small: Sequence[str] = ()
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True)
class Bar:
    """A probability in [0, 1] against its operating point; `text` says both."""

    value: float
    mark: float
    text: str


@dataclass(frozen=True)
class Column:
    """A column of a table; `share` of the width of a printed page."""

    title: str
    share: float = 1.0
    is_number: bool = False


@dataclass(frozen=True)
class Banner:
    """What the page is worth: the status, and what follows from it."""

    status: str
    title: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Heading:
    """The title of a part."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Names and what they have; `is_wide` beside one another where there is room."""

    pairs: Sequence[tuple[str, Cell]]
    is_wide: bool = False


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True)
class Table:
    """Rows of cells, as many as columns."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell | Bar]]


@dataclass(frozen=True)
class Figure:
    """A picture of a heat map, by its id."""

    picture: int
    caption: str
    alt: str


@dataclass(frozen=True)
class Figures:
    """Pictures beside one another."""

    items: Sequence[Figure]


@dataclass(frozen=True)
class Chart:
    """A drawing with its title."""

    title: str
    drawing: Drawing


@dataclass(frozen=True)
class Charts:
    """Drawings beside one another."""

    items: Sequence[Chart]


Block = Heading | Facts | Note | Table | Figures | Charts


@dataclass(frozen=True)
class Page:
    """A report in one language. `title` names no patient; `identity` does, for every printed page."""

    tag: str
    title: str
    banner: Banner
    patient: str
    identity: str
    footer: str
    blocks: Sequence[Block] = field(default_factory=tuple)
