"""A report's page as PDF: the same content, in every script that a font is installed for, to the byte each time."""

import subprocess
import unicodedata
from datetime import datetime
from pathlib import Path

import pytest
import time_machine

from api.documents import fonts
from api.documents.content import page_of
from api.documents.fonts import Face
from api.documents.page import Charts, Page
from api.documents.pdf import make_pdf
from api.documents.pdf_sheet import breakable, texts_of
from api.documents.wording import words_in
from shared.errors import FontMissingError
from shared.states import ReportOrigin, ReportStatus
from tests.report_odd_samples import ODD_SAMPLES
from tests.report_samples import SAMPLES, VERDICTS, Patient, Version, normal, positive, reviewed, signed
from tests.support import absent, tool

ALL = SAMPLES | ODD_SAMPLES
SIGNED = signed()


def pdf(version: Version, language: str = "en") -> bytes:
    words = words_in(language)
    made_at = datetime.fromisoformat(version.source.document["version"]["created_at"])
    return make_pdf(page(version, language), version.pictures, words, made_at)


def page(version: Version, language: str = "en") -> Page:
    return page_of(version.source, version.pictures.keys(), words_in(language))


def run(name: str, data: bytes, *options: str) -> str:
    command = [tool(name, "poppler-utils"), *options, "-", *(["-"] if name == "pdftotext" else [])]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


def sheets(data: bytes) -> list[str]:
    """The text of each sheet."""
    return run("pdftotext", data, "-layout").split("\f")[:-1]


def squeezed(text: str) -> str:
    """Without what lines are broken at; ligatures as their letters."""
    return "".join(unicodedata.normalize("NFKC", text).replace("\u200b", "").split())


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("positive", "en"),
        ("slices", "en"),
        ("retracted", "en"),
        ("other-findings", "en"),
        ("signed", "zh"),
        ("unread", "zh"),
    ],
)
def test_pdf_says_all_that_the_page_holds(name: str, language: str) -> None:
    version = ALL[name]()
    made = page(version, language)
    drawn = {text for block in made.blocks if isinstance(block, Charts) for text in texts_of(block)}

    text = squeezed(run("pdftotext", pdf(version, language), "-raw"))

    alternatives = {one for one in texts_of(made) if one.startswith(("Heat map: ", "热图："))}
    unset = {made.title, made.tag, made.banner.status} | drawn | alternatives
    assert {one for one in texts_of(made) if squeezed(one) not in text} - unset == set()


@pytest.mark.parametrize("name", ["long", "mostly-left-out", "clips"])
def test_every_sheet_names_the_patient_the_version_and_its_number(name: str) -> None:
    found = sheets(pdf(ALL[name]()))

    assert len(found) > 2
    for number, text in enumerate(found, start=1):
        assert "ID P-004711 · Jansen Maria · born 1958-03-14" in text
        assert f"page {number} of {len(found)}" in text
        assert ", preliminary" in text


def test_same_source_gives_the_same_bytes_at_another_time_in_another_process() -> None:
    first = pdf(SIGNED)

    fonts.small_copy.cache_clear()
    with time_machine.travel("2031-02-03 04:05:06"):
        second = pdf(SIGNED)

    assert first == second


def test_title_names_no_patient() -> None:
    told = run("pdfinfo", pdf(SIGNED))

    assert "AI report, version 4, final" in told
    assert "Jansen" not in told
    assert "CreationDate:    Sun Nov 29 21:05:00 2026" in told


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Łukasz^Żółć=Иванов^Иван", "Łukasz Żółć (Иванов Иван)"),
        ("Nguyễn^Thị Hạnh=Παπαδόπουλος^Γιώργος", "Nguyễn Thị Hạnh (Παπαδόπουλος Γιώργος)"),
        ("Wang^Xiaoming=王^小明", "Wang Xiaoming (王小明)"),
        ("田中^花子=たなか^はなこ", "田中花子 (たなか はなこ)"),
        ("김^철수", "김 철수"),
    ],
)
def test_names_of_many_scripts_are_set(name: str, shown: str) -> None:
    first = sheets(pdf(normal(Patient(name))))[0]

    assert squeezed(shown) in squeezed(first)
    assert "[U+" not in first


def test_arabic_is_shaped_and_set_from_right_to_left() -> None:
    data = pdf(normal(Patient("الحسن^محمد")))

    first = sheets(data)[0]

    letters = "".join(one for one in first if "\u0600" <= one <= "\u06ff")
    assert sorted(letters[:9]) == sorted("الحسنمحمد")
    assert "[U+" not in first
    assert "NotoSansArabic" in run("pdffonts", data)


@pytest.fixture
def only_latin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no font but Noto Sans."""
    latin = next(face for face in fonts._of_wheels() if face.path.name.startswith("NotoSans["))
    monkeypatch.setattr(fonts, "_of_wheels", lambda: (latin,))
    monkeypatch.setattr(fonts, "_of_system", lambda: ())


@pytest.mark.usefixtures("only_latin")
def test_characters_without_a_font_are_printed_as_code_points_and_their_script_is_named() -> None:
    text = squeezed("".join(sheets(pdf(normal(Patient("Kim^Chul=김^철수"))))))

    assert "KimChul([U+AE40][U+CCA0][U+C218])" in text
    assert squeezed("are printed as their code points (Hangul). Install a font with these scripts") in text


@pytest.mark.usefixtures("only_latin")
def test_chinese_without_a_font_is_an_error_that_says_what_to_install() -> None:
    with pytest.raises(FontMissingError, match=r"Han.*fonts-noto-cjk.*HTML needs none"):
        pdf(normal(), "zh")


def test_font_of_the_system_serves_where_no_wheel_does(monkeypatch: pytest.MonkeyPatch) -> None:
    cjk = [face for face in fonts._of_system() if "王" in fonts.characters_of(face)]
    if not cjk:
        absent("no font of the system has Chinese: apt-get install fonts-noto-cjk")
    latin = next(face for face in fonts._of_wheels() if face.path.name.startswith("NotoSans["))
    monkeypatch.setattr(fonts, "_of_wheels", lambda: (latin,))

    monkeypatch.setattr(fonts, "_of_system", lambda: (cjk[0],))

    assert "王小明" in squeezed(sheets(pdf(SAMPLES["chinese-name"]()))[0])


def test_damaged_font_has_no_characters(tmp_path: Path) -> None:
    for name, data in (("a.ttf", b""), ("b.ttf", b"\0\1\0\0" + b"x" * 200), ("c.otf", b"OTTO")):
        (tmp_path / name).write_bytes(data)
        assert fonts.characters_of(Face(tmp_path / name)) == frozenset()


@pytest.mark.parametrize(("language", "word"), [("en", "word{}"), ("zh", "词{}")])
def test_note_higher_than_a_sheet_is_set_whole(language: str, word: str) -> None:
    words = " ".join(word.format(number) for number in range(1000, 2000))
    said = [VERDICTS[0] | {"note": words}, *VERDICTS[1:]]
    version = reviewed(positive(), ReportOrigin.REVIEW, ReportStatus.PRELIMINARY, verdicts=said, comment=words)

    text = " ".join(sheets(pdf(version, language)))

    assert [number for number in range(1000, 2000) if text.count(word.format(number)) != 2] == []


def test_hostile_texts_are_only_text() -> None:
    hostile = "{nb} **bold** \\ ( ) %PDF 1 0 obj <</JS (app.alert(1))>>"
    data = pdf(normal(Patient(hostile, "(\\", ")")))

    assert squeezed(hostile) in squeezed("".join(sheets(data)))
    assert "JavaScript:      no" in run("pdfinfo", data)


def test_lines_break_between_chinese_characters_and_not_before_stops() -> None:
    broken = breakable("患者，Mass 0.110。")

    assert broken.split("\u200b") == ["患", "者，", "Mass 0.110。"]


def test_lines_do_not_break_within_a_label_that_is_bound_to_what_follows() -> None:
    assert breakable("序列\u00a01.2.3") == "序列\u00a01.2.3"
