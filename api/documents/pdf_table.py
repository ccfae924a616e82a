"""Tables on sheets: rows that stay whole, headings again on every sheet."""

from collections.abc import Sequence

from api.documents.page import Bar, Cell, Column, Table, Tone
from api.documents.pdf_sheet import ACCENT, FINE, MARGIN, MARK, PLAIN, RULE, SMALL, STRONG, Sheets, Style

GAP, PADDING, BAR_HEIGHT = 3.0, 1.1, 3.2
HEADING = Style(7.5, is_bold=True, colour=SMALL.colour)
STYLES = {Tone.PLAIN: PLAIN, Tone.STRONG: STRONG, Tone.WARNING: STRONG, Tone.FINE: FINE}


def put_table(sheets: Sheets, table: Table) -> None:
    """The table from here down."""
    widths = _widths(sheets, table.columns)
    titles = [Cell(column.title) for column in table.columns]
    _put_row(sheets, table.columns, titles, widths, HEADING)
    for row in table.rows:
        height = _height(sheets, row, widths)
        if sheets.want(height + 2 * PADDING):
            _put_row(sheets, table.columns, titles, widths, HEADING)
        if height + 2 * PADDING > sheets.room:
            _put_stacked(sheets, table.columns, row)  # higher than a sheet
        else:
            _put_row(sheets, table.columns, row, widths)
    sheets.ln(2)


def _widths(sheets: Sheets, columns: Sequence[Column]) -> list[float]:
    whole = sheets.epw - GAP * (len(columns) - 1)
    shares = sum(column.share for column in columns)
    return [whole * column.share / shares for column in columns]


def _height(sheets: Sheets, row: Sequence[Cell | Bar], widths: Sequence[float], style: Style | None = None) -> float:
    return max(_cell_height(sheets, one, width, style) for one, width in zip(row, widths, strict=True))


def _cell_height(sheets: Sheets, one: Cell | Bar, width: float, style: Style | None) -> float:
    if isinstance(one, Bar):
        return BAR_HEIGHT + 1 + sheets.height(one.text, width, SMALL)
    small = sum(sheets.height(line, width, SMALL) for line in one.small)
    return sheets.height(one.text, width, style or STYLES[one.tone]) + small


def _put_row(
    sheets: Sheets,
    columns: Sequence[Column],
    row: Sequence[Cell | Bar],
    widths: Sequence[float],
    style: Style | None = None,
) -> None:
    height = _height(sheets, row, widths, style)
    sheets.want(height + 2 * PADDING)
    x, y = MARGIN, sheets.get_y() + PADDING
    for column, one, width in zip(columns, row, widths, strict=True):
        sheets.set_xy(x, y)
        if isinstance(one, Bar):
            _put_bar(sheets, one, width)
        else:
            put_cell(sheets, one, width, "R" if column.is_number else "L", style)
        x += width + GAP
    bottom = y + height + PADDING
    sheets.set_draw_color(*RULE)
    sheets.set_line_width(0.2)
    sheets.line(MARGIN, bottom, sheets.w - MARGIN, bottom)
    sheets.set_xy(MARGIN, bottom)


def put_cell(sheets: Sheets, one: Cell, width: float, align: str = "L", style: Style | None = None) -> None:
    """The cell's text, and its small print below it."""
    sheets.put(one.text, width, style or STYLES[one.tone], align)
    for line in one.small:
        sheets.put(line, width, SMALL, align)


def _put_bar(sheets: Sheets, bar: Bar, width: float) -> None:
    x, y = sheets.get_x(), sheets.get_y()
    for colour, share in ((RULE, 1.0), (ACCENT, bar.value)):
        sheets.set_fill_color(*colour)
        sheets.rect(x, y + 0.6, width * share, BAR_HEIGHT - 0.6, style="F")
    sheets.set_fill_color(*MARK)
    sheets.rect(x + width * bar.mark - 0.35, y, 0.7, BAR_HEIGHT + 0.6, style="F")
    sheets.set_xy(x, y + BAR_HEIGHT + 1)
    sheets.put(bar.text, width, SMALL)


def _put_stacked(sheets: Sheets, columns: Sequence[Column], row: Sequence[Cell | Bar]) -> None:
    for column, one in zip(columns, row, strict=True):
        cell = Cell(one.text) if isinstance(one, Bar) else one
        if cell.text or cell.small:
            sheets.put(column.title, sheets.epw, HEADING)
            put_cell(sheets, cell, sheets.epw)
    sheets.ln(2 * PADDING)
