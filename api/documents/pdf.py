"""A page -> PDF, in characters of every script that an installed font has; the same bytes each time."""

import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from api.documents.chart import HEIGHT, WIDTH, Drawing
from api.documents.fonts import choose, scripts_of
from api.documents.page import (
    Banner,
    Block,
    Cell,
    Chart,
    Charts,
    Facts,
    Figure,
    Figures,
    Heading,
    Note,
    Page,
    Table,
    Tone,
)
from api.documents.pdf_sheet import (
    ACCENT,
    INK,
    MARGIN,
    MARK,
    PLAIN,
    RULE,
    SMALL,
    SOFT,
    STATUS,
    STATUS_TINT,
    STRONG,
    TINT,
    ZERO_WIDTH_SPACE,
    Sheets,
    Style,
    texts_of,
)
from api.documents.pdf_table import put_cell, put_table
from api.documents.wording import Words
from shared.errors import FontMissingError

NAME, TITLE, HEADING = Style(17, is_bold=True), Style(12, is_bold=True), Style(11, is_bold=True)
LABEL, NOTE, CAPTION = Style(9.5, colour=SOFT), Style(8.5, colour=SOFT), Style(7.5, colour=SOFT)
COLUMNS, FIGURES, GUTTER = 3, 4, 5.0
INKS = {"axis": SOFT, "grid": RULE, "mark": MARK, "curve": ACCENT}


def make_pdf(page: Page, pictures: Mapping[int, bytes], words: Words, made_at: datetime) -> bytes:
    """The page; `pictures` are PNG by the heat map's id. Raises FontMissingError where its words cannot be set."""
    choice = choose({*"".join(texts_of(page)), *"".join(words.texts.values()), ZERO_WIDTH_SPACE})
    if unset := choice.missing.intersection("".join(words.texts.values())):
        raise FontMissingError(
            f"No installed font has the characters of this language ({', '.join(scripts_of(unset))}). Install one on "
            "the server: overread's extra `chinese`, or the Debian package fonts-noto-cjk. HTML needs none."
        )
    with TemporaryDirectory(prefix="ovr-fonts-") as folder:
        sheets = Sheets(page, choice, made_at, words.texts["page.number"], Path(folder))
        _put_banner(sheets, page.banner)
        sheets.ln(3)
        sheets.put(page.patient, sheets.epw, NAME)
        sheets.ln(1)
        for block in page.blocks:
            _put(sheets, block, pictures)
        if choice.missing:
            told = words.say("made.fonts_text", scripts=words.list(scripts_of(choice.missing)))
            _put_facts(sheets, Facts([(words.say("made.fonts"), Cell(told))]))
        return sheets.finished()


def _put(sheets: Sheets, block: Block, pictures: Mapping[int, bytes]) -> None:
    match block:
        case Heading():
            _put_heading(sheets, block.text)
        case Note():
            _put_note(sheets, block)
        case Facts():
            (_put_wide_facts if block.is_wide else _put_facts)(sheets, block)
        case Table():
            put_table(sheets, block)
        case Figures():
            _put_side_by_side(sheets, [(figure, pictures[figure.picture]) for figure in block.items], FIGURES)
        case Charts():
            _put_side_by_side(sheets, [(chart, None) for chart in block.items], COLUMNS)


def _put_banner(sheets: Sheets, banner: Banner) -> None:
    width, inset, pad = sheets.epw - 8, 5.0, 2.2
    title = Style(TITLE.size, is_bold=True, colour=STATUS[banner.status])
    height = sheets.height(banner.title, width, title) + 2 * pad
    height += sum(sheets.height(line, width, PLAIN) for line in banner.lines)
    x, y = MARGIN, sheets.get_y()
    sheets.set_fill_color(*STATUS_TINT[banner.status])
    sheets.rect(x, y, sheets.epw, height, style="F")
    sheets.set_fill_color(*STATUS[banner.status])
    sheets.rect(x, y, 2.0, height, style="F")
    sheets.set_xy(x + inset, y + pad)
    sheets.put(banner.title, width, title)
    for line in banner.lines:
        sheets.put(line, width, PLAIN)
    sheets.set_xy(x, y + height)


def _put_heading(sheets: Sheets, text: str) -> None:
    sheets.want(34)  # with some of what it is the title of
    sheets.ln(3.5)
    sheets.put(text, sheets.epw, HEADING)
    y = sheets.get_y() + 0.6
    sheets.set_draw_color(*RULE)
    sheets.set_line_width(0.5)
    sheets.line(MARGIN, y, sheets.w - MARGIN, y)
    sheets.set_xy(MARGIN, y + 1)


def _put_note(sheets: Sheets, note: Note) -> None:
    if note.tone is not Tone.WARNING:
        sheets.want(sheets.height(note.text, sheets.epw, NOTE))
        sheets.put(note.text, sheets.epw, NOTE)
        return
    inset, pad = 4.0, 1.6
    width = sheets.epw - 2 * inset
    height = sheets.height(note.text, width, STRONG) + 2 * pad
    sheets.want(height + 2)
    y = sheets.get_y() + 1.5
    for colour, side in ((TINT, sheets.epw), (MARK, 1.6)):
        sheets.set_fill_color(*colour)
        sheets.rect(MARGIN, y, side, height, style="F")
    sheets.set_xy(MARGIN + inset, y + pad)
    sheets.put(note.text, width, STRONG)
    sheets.set_xy(MARGIN, y + height)


def _put_facts(sheets: Sheets, facts: Facts) -> None:
    names = 34.0
    for name, cell in facts.pairs:
        width = sheets.epw - names
        height = sheets.height(cell.text, width, PLAIN) + sum(sheets.height(line, width, SMALL) for line in cell.small)
        sheets.want(height + 1)
        y = sheets.get_y()
        sheets.put(name, names - 3, LABEL)
        sheets.set_xy(MARGIN + names, y)
        put_cell(sheets, cell, width)
        sheets.set_xy(MARGIN, sheets.get_y() + 0.6)


def _put_wide_facts(sheets: Sheets, facts: Facts) -> None:
    """COLUMNS of them beside one another."""
    width = (sheets.epw - GUTTER * (COLUMNS - 1)) / COLUMNS
    for start in range(0, len(facts.pairs), COLUMNS):
        top, bottom = sheets.get_y() + 1, 0.0
        for place, (name, cell) in enumerate(facts.pairs[start : start + COLUMNS]):
            sheets.set_xy(MARGIN + place * (width + GUTTER), top)
            sheets.put(name, width, SMALL)
            put_cell(sheets, cell, width)
            bottom = max(bottom, sheets.get_y())
        sheets.set_xy(MARGIN, bottom + 0.8)


def _put_side_by_side(sheets: Sheets, items: list[tuple[Figure | Chart, bytes | None]], columns: int) -> None:
    """Figures or charts in rows of so many, with their captions."""
    width = (sheets.epw - GUTTER * (columns - 1)) / columns
    for start in range(0, len(items), columns):
        row = items[start : start + columns]
        heights = [_item_height(sheets, item, png, width) for item, png in row]
        sheets.want(max(heights) + 3)
        top = sheets.get_y() + 1.5
        for place, (item, png) in enumerate(row):
            _put_item(sheets, item, png, (MARGIN + place * (width + GUTTER), top), width)
        sheets.set_xy(MARGIN, top + max(heights))
    sheets.ln(1.5)


def _item_height(sheets: Sheets, item: Figure | Chart, png: bytes | None, width: float) -> float:
    if isinstance(item, Chart):
        return sheets.height(item.title, width, STRONG) + width * HEIGHT / WIDTH
    return _picture_height(png or b"", width) + 1 + sheets.height(item.caption, width, CAPTION)


def _put_item(sheets: Sheets, item: Figure | Chart, png: bytes | None, at: tuple[float, float], width: float) -> None:
    sheets.set_xy(*at)
    if isinstance(item, Chart):
        sheets.put(item.title, width, STRONG)
        _draw(sheets, item.drawing, at[0], sheets.get_y(), width / WIDTH)
        return
    sheets.image(io.BytesIO(png or b""), at[0], at[1], w=width, alt_text=item.alt)
    sheets.set_xy(at[0], at[1] + _picture_height(png or b"", width) + 1)
    sheets.put(item.caption, width, CAPTION)


def _picture_height(png: bytes, width: float) -> float:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        return width * picture.height / picture.width


def _draw(sheets: Sheets, drawing: Drawing, left: float, top: float, scale: float) -> None:
    """The drawing, `scale` mm a point of its own."""

    def place(at: tuple[float, float]) -> tuple[float, float]:
        return left + at[0] * scale, top + at[1] * scale

    for line in drawing.lines:
        sheets.set_draw_color(*INKS[line.ink])
        sheets.set_line_width(0.4 if line.ink in ("curve", "mark") else 0.2)
        sheets.set_dash_pattern(*((1.2, 0.8) if line.ink == "mark" else ()))
        sheets.line(*place(line.start), *place(line.end))
    sheets.set_dash_pattern()
    sheets.set_draw_color(*ACCENT)
    sheets.set_line_width(0.35)
    for dot in drawing.dots:
        sheets.set_fill_color(*(ACCENT if dot.is_over else (255, 255, 255)))
        sheets.circle(*place(dot.at), radius=0.75, style="DF")
    for label in drawing.labels:
        sheets.use(Style(5.5, colour=SOFT if label.ink == "axis" else INK))
        x, y = place(label.at)
        width = sheets.get_string_width(label.text)
        sheets.text(x - {"start": 0.0, "middle": width / 2, "end": width}[label.anchor], y, label.text)
