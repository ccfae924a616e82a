"""What files and people say, as values that DICOM allows."""

import threading
from datetime import timedelta

import pytest
from pydicom import config
from pydicom.dataset import Dataset

from api.documents.dicom_parts import (
    as_given,
    date_of,
    long_string,
    long_text,
    modality_of,
    newest_study,
    person_name,
    principal_name,
    time_of,
    zone_of,
)
from api.documents.source import IndexedStudy
from shared.errors import NotFoundError
from tests.document_sources import source


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("Doe^Jane", "Doe^Jane"),
        ("Doe", "Doe^"),
        ("^^^", ""),
        ("Doe^^", "Doe^"),
        ("Wang^XiaoDong=王^小东=", "Wang^XiaoDong=王^小东"),
        ("=王^小东", "=王^小东"),
        ("a=b=c=d", "a^=b^=c^"),
        ("a^b^c^d^e^f^g", "a^b^c^d^e f g"),
        ("a\\b\x07^\x1bc\n", "a/b^c"),
        ("王" * 70, "王" * 63 + "^"),
        ("x" * 40 + "^" + "y" * 40, "x" * 40 + "^" + "y" * 23),
    ],
)
def test_name_keeps_its_groups_and_is_within_bounds(given: str, expected: str) -> None:
    assert person_name(given) == expected


def test_name_of_a_principal_is_one_group() -> None:
    assert principal_name("radiology=night shift") == "radiology night shift^"


@pytest.mark.parametrize(
    ("given", "expected"), [("a\\b\x00", "a/b"), ("x" * 70, "x" * 64), ("  y \n", "y"), ("病历7", "病历7")]
)
def test_string_is_one_value(given: str, expected: str) -> None:
    assert long_string(given) == expected


def test_text_keeps_its_lines_and_nothing_that_is_no_text() -> None:
    assert long_text("one\\\x07\n\n\x1b[0mtwo  ") == "one\\\r\n[0mtwo"


@pytest.mark.parametrize("given", ["", "19700231", "1970-02-03", "197002", "١٩٧٠٠٢٠٣", "19700203x"])
def test_what_is_no_date_is_none(given: str) -> None:
    assert date_of(given) is None


@pytest.mark.parametrize(("given", "expected"), [("MR", "MR"), ("", "OT"), ("<b>", "OT"), ("mr", "OT"), (" ", "OT")])
def test_what_is_no_modality_is_other(given: str, expected: str) -> None:
    assert modality_of(given) == expected


@pytest.mark.parametrize(
    ("given", "minutes"),
    [("+0100", 60), ("-0330", -210), ("+0000", 0), ("-0000", None), ("+1500", None), ("0100", None), ("", None)],
)
def test_offset_is_one_that_dicom_allows_or_none(given: str, minutes: int | None) -> None:
    zone = zone_of(IndexedStudy(timezone_offset=given))

    assert (zone and zone.utcoffset(None)) == (None if minutes is None else timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("given", "expected"),
    [("10", "10:00:00"), ("1011", "10:11:00"), ("101112.5", "10:11:12"), ("", "None"), ("251112", "None")],
)
def test_time_is_one_that_dicom_allows_or_none(given: str, expected: str) -> None:
    assert str(time_of(given)) == expected


def test_report_without_studies_has_no_place_in_dicom() -> None:
    of = source()
    of.document["studies"] = []

    with pytest.raises(NotFoundError, match="names no study"):
        newest_study(of)


def test_switch_of_checks_is_back_when_several_are_made_at_once() -> None:
    before = config.settings.reading_validation_mode, config.settings.writing_validation_mode
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with as_given():
            Dataset().StudyInstanceUID = "1.02"
            first_in.set()
            second_in.wait(0.5)  # in vain, if one waits for the other
        first_out.set()

    def second() -> None:
        first_in.wait(10)
        with as_given():
            second_in.set()
            first_out.wait(10)

    threads = [threading.Thread(target=one) for one in (first, second)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert (config.settings.reading_validation_mode, config.settings.writing_validation_mode) == before
    with pytest.warns(UserWarning, match="Invalid value"):
        Dataset().StudyInstanceUID = "1.02"
