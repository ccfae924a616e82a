"""A report's page as HTML: all of it is there, nothing else is fetched, and no text of files or people acts."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from api.documents.chart import ROOM
from api.documents.content import page_of
from api.documents.html import make_html
from api.documents.page import Banner, Charts, Figures, Table
from api.documents.pdf_sheet import texts_of
from api.documents.text import clean, day, person_name
from api.documents.wording import LANGUAGES, words_in
from scheduler.aggregation.evidence import Evidence
from shared.states import ReportOrigin, ReportStatus
from tests.report_odd_samples import DIGEST, ODD_SAMPLES, PROVENANCE
from tests.report_samples import (
    SAMPLES,
    VERDICTS,
    Patient,
    Version,
    image,
    normal,
    positive,
    results,
    reviewed,
    signed,
    study,
)

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
        ("signed", "final", "signed by Dr. A. Okafor at 2026-11-29 21:05 UTC, on the basis of version 3."),
        (
            "amended",
            "amended",
            "Amended and signed by Dr. A. Okafor at 2026-11-29 21:30 UTC, on the basis of version 4.",
        ),
        ("amended", "amended", "Reason: The lateral film came later."),
        ("retracted", "retracted", "Reason: Films of another patient."),
        ("new-after-signature", "preliminary", "New results came after version 4 was signed."),
    ],
)
def test_banner_says_what_the_page_is_worth(name: str, status: str, said: str) -> None:
    version = (SAMPLES | ODD_SAMPLES)[name]()

    banner: Banner = page_of(version.source, (), words_in("en")).banner

    assert banner.status == status
    assert any(said in line for line in banner.lines)


def test_digest_of_what_was_signed_stands_below_not_in_the_banner() -> None:
    version = signed()
    signs = version.row["document"]["review"]["signed"]["signs"]

    banner, text = page_of(version.source, (), words_in("en")).banner, read(version).text

    assert "sha256" not in "".join(banner.lines)
    assert f"signed on the basis of version {signs['number']}, content sha256 {signs['content_digest']}" in text
    assert version.row["content_digest"] in text


def test_retracted_page_says_who_retracted_it_and_suggests_nothing() -> None:
    version = SAMPLES["retracted"]()

    banner, text = page_of(version.source, (), words_in("en")).banner, read(version).text

    assert banner.title == "Do not use: retracted by Dr. A. Okafor at 2026-11-29 21:30 UTC"
    assert version.source.document["follow_ups"]
    assert "Suggested follow-up" not in text
    assert "Suggested follow-up" in read(signed()).text


@pytest.mark.parametrize(("name", "title"), [("signed", "Physician"), ("reviewed", "Reviewer")])
def test_column_of_verdicts_names_a_physician_only_where_one_signed(name: str, title: str) -> None:
    page = page_of((SAMPLES | ODD_SAMPLES)[name]().source, (), words_in("en"))

    assert next(block for block in page.blocks if isinstance(block, Table)).columns[-1].title == title


def test_results_are_positive_or_negative_and_the_page_says_what_that_means() -> None:
    text = read(positive()).text

    assert "positive" in text
    assert "negative" in text
    assert "Positive: at the operating point or over." in text


def test_rows_of_evidence_and_their_pictures_share_the_number_of_the_image() -> None:
    version = SAMPLES["slices"]()
    page = page_of(version.source, version.pictures.keys(), words_in("en"))

    rows = next(one.rows for one in page.blocks if isinstance(one, Table) and one.columns[1].title.startswith("Image"))
    figure = next(block for block in page.blocks if isinstance(block, Figures)).items[0]

    of = next(row for row in rows if row[0].text == "Mass")
    assert figure.caption.startswith(f"{of[1].text}, slice {of[2].text}, frame 1: Mass, probability 0.620.")
    assert len({row[1].text for row in rows}) == len({row[1].small[0] for row in rows})


def test_image_of_two_findings_has_one_number() -> None:
    text = read(positive()).text

    assert "Image 1, frame 1: Effusion" in text
    assert "Image 1, frame 1: Nodule" in text


@pytest.mark.parametrize(
    ("due_at", "shown"),
    [("2026-12-01T09:30:00+00:00", "2026-12-01 09:30 UTC"), ("2026-12-02T00:00:00+00:00", "2026-12-02")],
)
def test_follow_up_names_the_hour_when_it_is_not_midnight(due_at: str, shown: str) -> None:
    version = positive()
    version.source.document["follow_ups"][0]["due_at"] = due_at

    page = page_of(version.source, (), words_in("en"))

    table = next(one for one in page.blocks if isinstance(one, Table) and one.columns[0].title == "Due")
    assert table.rows[0][0].text == shown


def test_stacks_without_positions_are_listed_from_three_slices_on() -> None:
    films = [image(number, 1, 0.1, 0.1, 0.1) for number in range(1, 4)]

    two, three = (read(results(Evidence((study(1, "20261128"),), tuple(films[:count])))).text for count in (2, 3))

    assert "No positions to sort by" not in two
    assert "No positions to sort by" in three


def test_page_names_the_seal_as_the_audit_takes_it_and_each_package_once() -> None:
    version = normal()
    environment = {"python": "3.11.7", "packages": {"overread": "0.1.0", "keras": "3.15.1"}, "hardware": "x86_64"}
    software = PROVENANCE["software"] | {"environments": [environment]}
    version.source.document["provenance"] = PROVENANCE | {"software": software}

    text = read(version).text

    assert f"4711:{DIGEST}" in text
    assert "overread 0.1.0, keras 3.15.1" in text
    assert text.count("overread 0.1.0") == 1


def test_verdicts_and_notes_stand_beside_the_findings() -> None:
    text = read(signed()).text

    for said in ("agrees: present", "Left, about 300 ml.", "disagrees: absent", "Nipple shadow; not seen on the"):
        assert said in text


def test_trend_has_a_dot_for_every_study_with_the_version_that_it_is_from() -> None:
    version = SAMPLES["long"]()
    page = make_html(page_of(version.source, (), words_in("en")), {}).decode()

    assert page.count("<circle") == 3 * 30
    assert set(re.findall(r", model version (\d)</title>", page)) == {"1", "2", "3"}


@pytest.mark.parametrize("name", ["positive", "long"])
def test_labels_of_versions_stay_clear_of_the_axes(name: str) -> None:
    page = page_of(SAMPLES[name]().source, (), words_in("en"))
    charts = next(block for block in page.blocks if isinstance(block, Charts)).items

    starts = [label.at[0] - ROOM / 2 for one in charts for label in one.drawing.labels if label.text.startswith("v")]
    axis = min(line.start[0] for one in charts for line in one.drawing.lines if line.ink == "axis")

    assert min(starts) > axis


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
        ("Wang^Xiaoming=王^小明", "Wang Xiaoming (王小明)"),
        ("=山田^太郎=やまだ^たろう", "山田太郎 (やまだ たろう)"),
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
