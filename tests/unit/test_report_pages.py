"""A report's page as HTML: all of it is there, nothing else is fetched, and no text of files or people acts."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from api.documents.content import page_of
from api.documents.html import make_html
from api.documents.page import Banner
from api.documents.pdf_sheet import texts_of
from api.documents.text import clean, day, person_name
from api.documents.wording import LANGUAGES, words_in
from shared.states import ReportOrigin, ReportStatus
from tests.report_odd_samples import ODD_SAMPLES
from tests.report_samples import SAMPLES, VERDICTS, Patient, Version, normal, positive, reviewed, signed

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
VOID = {"meta", "col", "img", "line", "circle", "br"}


class Reader(HTMLParser):
    """Reads a page as a browser does: its text, what it would fetch, and whether each element ends."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.text += " ".join(value or "" for name, value in attrs if name in ("alt", "aria-label", "data-title"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def read(version: Version, language: str = "en") -> Reader:
    page = page_of(version.source, version.pictures.keys(), words_in(language))
    reader = Reader()
    reader.feed(make_html(page, version.pictures).decode())
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", SAMPLES | ODD_SAMPLES)
def test_page_says_all_that_it_holds_and_fetches_nothing(name: str, language: str) -> None:
    version = (SAMPLES | ODD_SAMPLES)[name]()
    page = page_of(version.source, version.pictures.keys(), words_in(language))

    found = read(version, language)

    for_print = {page.identity, page.footer, page.tag, page.banner.status}
    assert {text for text in texts_of(page) if text not in found.text} - for_print <= INKS
    assert all(link.startswith("data:image/png;base64,") for link in found.links)
    assert not found.tags & {"script", "link", "iframe", "form", "object", "embed"}


# Words of a drawing's own.
INKS = {"axis", "grid", "mark", "curve", "start", "middle", "end"}


def test_no_text_of_files_or_people_acts_on_the_page() -> None:
    patient = Patient(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    said = [verdict | {"note": HOSTILE} for verdict in VERDICTS]
    version = reviewed(
        positive(patient),
        ReportOrigin.REVIEW,
        ReportStatus.PRELIMINARY,
        verdicts=said,
        comment=HOSTILE,
        reviewer=HOSTILE,
    )
    for finding in version.source.document["findings"]:
        finding["display"] = HOSTILE
    version.source.document["model"]["intended_use"] = HOSTILE

    found = read(version)

    assert "script" not in found.tags
    assert found.text.count("<script>alert(1)</script>") > 10
    assert all(link.startswith("data:image/png;base64,") for link in found.links)


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("normal", "preliminary", "Not for diagnostic use"),
        ("reviewed", "preliminary", "Reviewed by Dr. A. Okafor, 2026-11-29 20:40 UTC; not signed."),
        ("signed", "final", "Signed by Dr. A. Okafor, 2026-11-29 21:05 UTC."),
        ("amended", "amended", "The lateral film came later."),
        ("retracted", "retracted", "Films of another patient."),
        ("new-after-signature", "preliminary", "What was signed stays as it is"),
    ],
)
def test_banner_says_what_the_page_is_worth(name: str, status: str, said: str) -> None:
    version = (SAMPLES | ODD_SAMPLES)[name]()

    banner: Banner = page_of(version.source, (), words_in("en")).banner

    assert banner.status == status
    assert any(said in line for line in banner.lines)


def test_banner_of_a_signed_page_names_the_digest_of_what_was_signed() -> None:
    version = signed()
    signs = version.row["document"]["review"]["signed"]["signs"]

    text = read(version).text

    assert f"version {signs['number']}, content sha256 {signs['content_digest']}" in text
    assert version.row["content_digest"] in text


def test_verdicts_and_notes_stand_beside_the_findings() -> None:
    text = read(signed()).text

    for said in ("agrees: present", "Left, about 300 ml.", "disagrees: absent", "Nipple shadow; not seen on the"):
        assert said in text


def test_trend_has_a_dot_for_every_study_with_the_version_that_it_is_from() -> None:
    version = SAMPLES["long"]()
    page = make_html(page_of(version.source, (), words_in("en")), {}).decode()

    assert page.count("<circle") == 3 * 30
    assert set(re.findall(r", model version (\d)</title>", page)) == {"1", "2", "3"}


def test_pictures_that_cannot_be_made_are_named() -> None:
    version = positive()
    shown = dict(list(version.pictures.items())[:1])
    page = page_of(version.source, shown.keys(), words_in("en"))

    found = make_html(page, shown).decode()

    assert found.count("<img") == 1
    assert "Heat maps that are not shown here: 2, 3, 4." in found


def test_title_names_no_patient_and_the_page_does() -> None:
    page = page_of(normal().source, (), words_in("en"))

    assert (page.title, page.patient) == ("AI report, version 1, preliminary", "Jansen Maria")


def test_document_of_before_reports_knew_trends_is_shown() -> None:
    version = normal()
    document = {
        name: part for name, part in version.source.document.items() if name not in ("trend", "changes", "series")
    }
    source = replace(version.source, document=document)

    assert "0.120" in make_html(page_of(source, (), words_in("en")), {}).decode()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Jansen^Maria^^Dr.^", "Jansen Maria Dr."),
        ("Wang^Xiaoming=王^小明", "Wang Xiaoming (王 小明)"),
        ("=山田^太郎=やまだ^たろう", "山田 太郎 (やまだ たろう)"),
        ("", ""),
        ("^^=^", ""),
        ("A\x00B\u202eC", "A�B�C"),
    ],
)
def test_names_are_shown_as_people_write_them(given: str, shown: str) -> None:
    assert person_name(given) == shown


def test_half_characters_and_odd_days_are_shown_as_they_can_be() -> None:
    assert clean("a\ud800b\tc\n") == "a�b c"
    assert [day(text) for text in ("20261128", "20261341", "2026.11.28", "")] == [
        "2026-11-28",
        "20261341",
        "2026.11.28",
        "",
    ]
