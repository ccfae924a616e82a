"""Fonts for PDF: which installed ones have the characters of a page, and small copies that hold only those.

Wheels come first (Noto Sans, Noto Sans Arabic, and with the extra `chinese` Noto Sans of China, Taiwan, Japan and
Korea), then what the system has.
"""

import io
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTCollection, TTFont, TTLibError
from fontTools.unicodedata import script, script_name
from fontTools.varLib.instancer import instantiateVariableFont

# Of each wheel, the files of which the name begins so, in this order.
WHEELS = (
    ("fontpkg-noto-sans", ("NotoSans[",)),
    ("fontpkg-noto-sans-arabic", ("NotoSansArabic[",)),
    ("justmytype-intl-cjk", ("NotoSansSC[", "NotoSansTC[", "NotoSansJP[", "NotoSansKR[")),
)
SYSTEM_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
SUFFIXES = (".ttf", ".otf", ".ttc")
# Names of faces that a page is set in only where no other has the character.
_ODD = ("bold", "italic", "oblique", "mono", "serif", "condensed", "light", "thin", "black", "emoji", "display")
REGULAR, BOLD = 400.0, 700.0
# In every copy, so that most pages need the same ones.
ALWAYS = frozenset(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x180))))


@dataclass(frozen=True)
class Face:
    """A font file, or one of a collection."""

    path: Path
    number: int = 0

    @contextmanager
    def opened(self) -> Iterator[TTFont]:
        """The font, read as far as it is needed; what is saved of it is the same each time."""
        with self.path.open("rb") as file:
            yield TTFont(file, fontNumber=self.number, lazy=True, recalcTimestamp=False)


@dataclass(frozen=True)
class Choice:
    """The faces that have a page's characters, those that are looked into first in front, and what none has."""

    faces: Sequence[tuple[Face, frozenset[str]]]
    missing: frozenset[str]


def choose(characters: Iterable[str]) -> Choice:
    """The first faces that have these characters."""
    wanted, chosen = frozenset(characters) | ALWAYS, []
    for faces in (_of_wheels, _of_system):
        if not any(_is_seen(character) for character in wanted):
            break
        for face in faces():
            if found := wanted & characters_of(face):
                chosen.append((face, found))
                wanted -= found
    return Choice(chosen, frozenset(filter(_is_seen, wanted)))


def _is_seen(character: str) -> bool:
    return not character.isspace() and unicodedata.category(character) != "Cf"


def scripts_of(characters: Iterable[str]) -> list[str]:
    """The writing systems of characters, by name."""
    return sorted({script_name(script(character), default="?").replace("_", " ") for character in characters})


@lru_cache(maxsize=256)
def characters_of(face: Face) -> frozenset[str]:
    """What the face has a glyph for; nothing where it cannot be read."""
    try:
        with face.opened() as font:
            return frozenset(map(chr, font.getBestCmap() or {}))
    except (TTLibError, OSError, ValueError, KeyError, AssertionError):
        return frozenset()


@lru_cache(maxsize=32)
def small_copy(face: Face, characters: frozenset[str], weight: float) -> bytes:
    """The face with these characters only; a variable font at this weight, and at its usual width."""
    options = Options()
    options.layout_features, options.notdef_outline, options.recalc_timestamp = ["*"], True, False
    with face.opened() as font:
        cutter = Subsetter(options)
        cutter.populate(text="".join(sorted(characters)))
        cutter.subset(font)
        if "fvar" in font:
            place = {axis.axisTag: axis.defaultValue for axis in font["fvar"].axes} | {"wght": weight}
            instantiateVariableFont(font, place, inplace=True)
        buffer = io.BytesIO()
        font.save(buffer)
        return buffer.getvalue()


@cache
def _of_wheels() -> tuple[Face, ...]:
    return tuple(_found_in_wheels())


def _found_in_wheels() -> Iterator[Face]:
    for name, starts in WHEELS:
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            continue
        for start in starts:
            yield from (Face(Path(str(file.locate()))) for file in files if file.name.startswith(start))


@cache
def _of_system() -> tuple[Face, ...]:
    """Plain faces without serifs first."""
    paths = [
        Path(folder) / name
        for root in SYSTEM_FOLDERS
        for folder, _, names in os.walk(Path(root).expanduser())
        for name in names
        if name.lower().endswith(SUFFIXES)
    ]
    return tuple(Face(path, _number(path)) for path in sorted(paths, key=_oddness))


def _oddness(path: Path) -> tuple[int, bool, str]:
    name = path.stem.lower()
    return sum(word in name for word in _ODD), "sans" not in name, str(path)


def _number(path: Path) -> int:
    """Of a collection, the face for simplified Chinese where it has one."""
    if path.suffix.lower() != ".ttc":
        return 0
    try:
        with path.open("rb") as file:
            names = [str(font["name"].getDebugName(4)) for font in TTCollection(file, lazy=True).fonts]
    except (TTLibError, OSError):
        return 0
    return next((number for number, name in enumerate(names) if " SC" in name), 0)
