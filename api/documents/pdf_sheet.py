"""The sheets that a page is printed on: fonts, identity and number on each, text in boxes."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fpdf import FPDF
from fpdf.enums import MethodReturnValue, WrapMode, XPos, YPos
from fpdf.fonts import TTFFont

from api.documents.fonts import BOLD, REGULAR, Choice, small_copy
from api.documents.page import Page, Tone

MARGIN = 14.0  # mm, as all lengths here
FAMILY = "page"
ZERO_WIDTH_SPACE, NO_BREAK_SPACE = "\u200b", "\u00a0"
STOPS = "，。；：、）"  # no line begins with these
PT = 25.4 / 72

INK, SOFT, RULE, TINT = (27, 35, 48), (91, 102, 117), (213, 219, 227), (244, 246, 249)
ACCENT, MARK = (29, 78, 216), (180, 83, 9)
STATUS = {"preliminary": MARK, "final": (21, 128, 61), "amended": (21, 128, 61), "retracted": (185, 28, 28)}
STATUS_TINT = {
    "preliminary": (255, 247, 237),
    "final": (240, 253, 244),
    "amended": (240, 253, 244),
    "retracted": (254, 242, 242),
}

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """How a text is set; `size` in points."""

    size: float = 9.5
    is_bold: bool = False
    colour: Colour = INK

    @property
    def line(self) -> float:
        """The height of a line."""
        return self.size * PT * 1.32


PLAIN, STRONG = Style(), Style(is_bold=True)
SMALL, FINE = Style(7.5, colour=SOFT), Style(8.0, colour=SOFT)


def texts_of(part: Any) -> Iterator[str]:
    """Every text in a page or a part of one."""
    if isinstance(part, str):
        if not isinstance(part, Tone):
            yield part
    elif is_dataclass(part):
        for field in fields(part):
            yield from texts_of(getattr(part, field.name))
    elif isinstance(part, list | tuple):
        for one in part:
            yield from texts_of(one)


def breakable(text: str) -> str:
    """With places to break a line at between Chinese or Japanese characters, which stand without spaces."""
    parts: list[str] = []
    for before, character, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        is_in_han = _is_han(before) and _is_han(character) and after != NO_BREAK_SPACE
        if (before in STOPS and character not in STOPS) or is_in_han:
            parts.append(ZERO_WIDTH_SPACE)
        parts.append(character)
    return "".join(parts)


def _is_han(character: str) -> bool:
    return "\u3040" <= character <= "\u30ff" or "\u3400" <= character <= "\u9fff"


class Sheets(FPDF):
    """A4 sheets with who it is about above, and the report's version and the sheet's number below.

    Copies of fonts lie in `folder` until `finished`.
    """

    def __init__(self, page: Page, choice: Choice, made_at: datetime, number: str, folder: Path) -> None:
        super().__init__(format="A4")
        self._heights: dict[tuple[str, float, Style], float] = {}
        self._page, self._missing, self._number = page, choice.missing, number
        self.set_title(page.title)
        self.set_lang(page.tag)
        self.set_creator("Overread")
        self.set_creation_date(made_at)
        self.set_margins(MARGIN, MARGIN + 6, MARGIN)
        self.set_auto_page_break(True, MARGIN + 5)
        self.c_margin = 0.0
        self._add_fonts(choice, folder)
        self.set_text_shaping(True, features={"liga": False})  # what is copied from it, such as a digest, stays whole
        self.alias_nb_pages("")  # or a name could hold the alias
        self.add_page()

    def _add_fonts(self, choice: Choice, folder: Path) -> None:
        """A copy for each face; the first is the page's own, the others are looked into where it lacks a character."""
        names = [f"{FAMILY}{number}" for number in range(len(choice.faces))]
        for name, (face, characters) in zip(names, choice.faces, strict=True):
            for style, weight in (("", REGULAR), ("B", BOLD)):
                path = folder / f"{name}{style}.ttf"
                path.write_bytes(small_copy(face, characters, weight))
                self.add_font(name, style, path)
        self.set_font(names[0])
        self.set_fallback_fonts(names[1:], exact_match=False)

    def header(self) -> None:
        """Who every sheet is about."""
        self._line_of_text(MARGIN - 5, self._page.identity, "L")
        self.set_draw_color(*RULE)
        self.line(MARGIN, MARGIN + 1, self.w - MARGIN, MARGIN + 1)
        self.set_xy(MARGIN, MARGIN + 6)

    def footer(self) -> None:
        """Which report and version; the sheet's number comes last."""
        self._line_of_text(self.h - MARGIN, self._page.footer, "L")

    def finished(self) -> bytes:
        """The PDF, each sheet numbered, of how many."""
        self.set_auto_page_break(False)
        for number in range(1, self.pages_count + 1):
            self.page = number
            self._line_of_text(self.h - MARGIN, self._number.format(page=number, pages=self.pages_count), "R")
        made = bytes(self.output())
        for font in self.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()
        return made

    def _line_of_text(self, y: float, text: str, align: str) -> None:
        self.use(SMALL)
        self.set_xy(MARGIN, y)
        self.cell(self.epw, SMALL.line, self.spelt(text), align=align)

    def use(self, style: Style) -> None:
        """Set what follows so."""
        self.set_font(f"{FAMILY}0", "B" if style.is_bold else "", style.size)
        self._establish_font()
        self.set_text_color(*style.colour)

    def _establish_font(self) -> None:
        """Write the font to the sheet: fpdf2 also takes it for written after it measured, or began with another one."""
        if self.page and self.current_font is not None:
            self._out(self._set_font_for_page(self.current_font, self.font_size_pt))

    def _perform_page_break(self) -> None:
        super()._perform_page_break()
        self._establish_font()

    def spelt(self, text: str) -> str:
        """The text, characters that no font has as their code points."""
        if self._missing.isdisjoint(text):
            return breakable(text)
        return breakable("".join(f"[U+{ord(one):04X}]" if one in self._missing else one for one in text))

    def height(self, text: str, width: float, style: Style) -> float:
        """How much room a text takes in a box of this width."""
        if not text:
            return 0.0
        asked = (text, width, style)
        if asked not in self._heights:
            self._heights[asked] = float(self._box(*asked, "L", dry_run=True))
        return self._heights[asked]

    def put(self, text: str, width: float, style: Style, align: str = "L") -> None:
        """Set a text in a box from here down; on the next sheet where this one ends."""
        if text:
            self._box(text, width, style, align, dry_run=False)

    def _box(self, text: str, width: float, style: Style, align: str, *, dry_run: bool) -> Any:
        self.use(style)
        return self.multi_cell(
            width,
            style.line,
            self.spelt(text),
            align=align,
            new_x=XPos.LEFT,
            new_y=YPos.NEXT,
            wrapmode=WrapMode.WORD,
            dry_run=dry_run,
            output=MethodReturnValue.HEIGHT,
        )

    @property
    def room(self) -> float:
        """What is left of this sheet."""
        return float(self.page_break_trigger - self.get_y())

    def want(self, height: float) -> bool:
        """Begin a new sheet where so much has no room on this one, and would have on a new one."""
        whole = self.page_break_trigger - self.t_margin
        if self.room < height <= whole:
            self.add_page()
            return True
        return False
