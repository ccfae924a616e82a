"""The help pages: every language says the same, shows its pictures, and knows the words that the pages use."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from api.documents.wording import LANGUAGES
from api.schemas.jobs import WaitsFor
from api.web.guides import FOLDER, guide
from shared.reasons import Failure

WHOM = ("physicians", "operators")
CODE = re.compile(r"`([^`]+)`")
DOCS = Path(__file__).parents[2] / "docs"


def text_of(whom: str, language: str) -> str:
    return guide(whom, language).read_text(encoding="utf-8")


def tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": False}).enable("table").parse(text)


def structure(text: str) -> list[tuple[str, str]]:
    """Headings, paragraphs, lists and tables, cell by cell, in order."""
    return [(one.type, one.tag) for one in tokens(text)]


def codes(text: str) -> list[str]:
    return sorted(CODE.findall(text))


def pictures(text: str) -> list[Token]:
    return [part for one in tokens(text) for part in one.children or () if part.type == "image"]


@pytest.mark.parametrize("told", [structure, codes], ids=["structure", "codes"])
@pytest.mark.parametrize("whom", WHOM)
def test_guide_is_the_same_in_every_language(whom: str, told: Callable[[str], object]) -> None:
    english, *others = (told(text_of(whom, language)) for language in LANGUAGES)

    for other in others:
        assert other == english


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("whom", WHOM)
def test_pictures_of_a_guide_are_there_small_and_told_in_words(whom: str, language: str) -> None:
    shown = pictures(text_of(whom, language))
    suffix = ".png" if language == LANGUAGES[0] else f".{language}.png"

    assert len(shown) >= 2
    for picture in shown:
        path = FOLDER / str(picture.attrs["src"])
        assert path.name.partition(".")[1:] == suffix.partition(".")[1:], "of the pages in this language"
        width, _ = struct.unpack(">II", path.read_bytes()[16:24])
        assert width <= 820
        assert path.stat().st_size < 150_000
        assert len(picture.content) > 20
        assert (DOCS / str(picture.attrs["src"])).samefile(path), "a reader of the repository sees it too"


@pytest.mark.parametrize("language", LANGUAGES)
def test_operators_read_what_every_cause_of_waiting_and_class_of_failure_means(language: str) -> None:
    text = text_of("operators", language)
    rows = re.findall(r"^\| `(\w+)` \| \S.* \| \S.* \|$", text, re.MULTILINE)

    assert rows == [cause.value for cause in WaitsFor], "in the order in which they matter"
    assert [failure for failure in Failure if failure not in text] == []
