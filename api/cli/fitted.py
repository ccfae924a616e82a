"""Tables of things with ids: an id stays in one piece to be copied, the other columns make room for it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from api.cli.ids import ID_WIDTH
from api.cli.output import plain

GAP = 2  # between two columns
COMFORTABLE = 24  # columns are left out rather than that the others get narrower than this, or their content
NARROWEST = 4


def fitted_table(
    columns: Sequence[tuple[str, Callable[[Any], Any]]], rows: Iterable[Any], width: int, spare: Sequence[str]
) -> Table:
    """A table whose first column is an id; columns named in `spare` are left out in that order to fit."""
    cells = [[plain(read(row)) for _, read in columns] for row in rows]
    headings = [heading for heading, _ in columns]
    wanted = [
        max(len(heading), *map(_width, column))
        for heading, column in zip(headings, zip(*cells, strict=True), strict=True)
    ]
    shown = _chosen(headings, wanted, width, spare)
    widths = _narrowed([wanted[index] for index in shown], width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column_width in zip(shown, widths, strict=True):
        table.add_column(
            headings[index], min_width=column_width, max_width=column_width, no_wrap=True, overflow="ellipsis"
        )
    for row in cells:
        table.add_row(*(row[index] for index in shown))
    return table


def _width(cell: Text) -> int:
    return max(line.cell_len for line in cell.split(allow_blank=True))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _chosen(headings: Sequence[str], wanted: Sequence[int], width: int, spare: Sequence[str]) -> list[int]:
    shown = list(range(len(headings)))
    for heading in spare:
        if _total([wanted[0], *(min(wanted[index], COMFORTABLE) for index in shown[1:])]) <= width:
            break
        shown.remove(headings.index(heading))
    return shown


def _narrowed(widths: list[int], width: int) -> list[int]:
    """The widths with the widest made narrower until they fit; never the first."""
    widths = [max(widths[0], ID_WIDTH), *widths[1:]]
    while _total(widths) > width and max(widths[1:]) > NARROWEST:
        widest = max(range(1, len(widths)), key=lambda index: widths[index])
        widths[widest] -= 1
    return widths
