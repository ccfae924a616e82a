"""What only a script can do, in a real browser: files are dropped and sent, and a calendar is seen as one types it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.unit_of_work import UnitOfWork
from tests.cohorts import zipped
from tests.conftest import Prepared
from tests.dicom_samples import dicom_bytes, make_uid
from tests.factories import add_model
from tests.screens import chromium, overflows, violations, window
from tests.services import api_at


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def url(browser: Any, prepared: Prepared) -> Iterator[str]:
    """The API, with a model; no worker runs."""
    with UnitOfWork(prepared.engine) as uow:
        add_model(uow.session)
    with api_at(prepared.settings) as url:
        yield url


def drop(page: Any, *paths: Path) -> None:
    """As a hand does it, from the desktop."""
    box = page.locator("#drop").bounding_box()
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + 20, "y": box["y"] + 20}
        session.send("Input.dispatchDragEvent", {"type": kind, "data": data} | place)


def zip_of_two_and_a_note() -> bytes:
    """Two images and what is none."""
    images = [(f"study/{one}.dcm", dicom_bytes(SOPInstanceUID=make_uid("submit", one))) for one in range(2)]
    return zipped([*images, ("study/notes.txt", b"no image")])


def test_zip_and_folder_are_dropped_looked_at_and_queued(
    browser: Any, url: str, prepared: Prepared, tmp_path: Path
) -> None:
    (tmp_path / "night.zip").write_bytes(zip_of_two_and_a_note())
    deep = tmp_path / "study" / "series"
    deep.mkdir(parents=True)
    (deep / "3.dcm").write_bytes(dicom_bytes(SOPInstanceUID=make_uid("submit", 3)))
    with window(browser, url, prepared.token) as page:
        page.goto("/submit")
        page.fill("[name=label]", "from the browser")
        drop(page, tmp_path / "night.zip", tmp_path / "study")
        page.wait_for_selector("#rows tr")

        rows = page.locator("#rows tr")
        assert rows.count() == 4
        assert "rejected" in rows.first.inner_text(), "what needs a person comes first"
        assert "study/series/3.dcm" in page.inner_text("#rows")
        counts = dict(line.split("\t") for line in page.inner_text("#counts").splitlines())
        assert (counts["Images of the job"], counts["To be predicted"], counts["Rejected files"]) == ("4", "3", "1")
        assert violations(page) == []
        page.click("#queue")
        page.wait_for_url(re.compile("/jobs/[0-9a-f-]{36}$"))

        assert page.inner_text("h1") == "from the browser"
        assert "0 of 4" in page.inner_text("#job")


def test_folder_is_sent_through_a_break_and_what_is_there_already_is_said(
    browser: Any, url: str, prepared: Prepared, tmp_path: Path
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.dcm").write_bytes(dicom_bytes(SOPInstanceUID=make_uid("folder", number)))
    (tmp_path / ".hidden").write_text("passed over")
    with window(browser, url, prepared.token) as page:
        page.goto("/submit")
        broken: list[Any] = []

        def break_once(route: Any) -> None:
            if broken:
                route.continue_()
            else:
                broken.append(route)
                route.abort()

        page.route(re.compile("/api/v1/uploads/"), break_once)
        page.set_input_files("#folder", tmp_path)
        page.wait_for_selector("#rows tr")
        first = page.inner_text("#outcomes")
        page.set_input_files("#files", [tmp_path / "0.dcm"])
        page.wait_for_selector("#rows tr:nth-child(4)")

        assert broken
        assert first == "3 stored, 0 there already, 0 rejected"
        assert page.inner_text("#outcomes") == "3 stored, 1 there already, 0 rejected"
        assert not overflows(page)


def test_moments_of_a_calendar_follow_what_is_typed(browser: Any, url: str, prepared: Prepared) -> None:
    with window(browser, url, prepared.token) as page:
        page.goto("/new-schedule")
        page.fill("[name=time_zone]", "Asia/Kolkata")
        page.wait_for_selector("#fires li:has-text('02:30 +05:30')")
        page.fill("[name=cron]", "61 2 * * *")
        page.wait_for_selector("#said:has-text('not valid')")

        assert page.locator("#fires li").count() == 0
        page.fill("[name=cron]", "15 4 * * 7")
        page.wait_for_selector("#fires li:has-text('Sun')")
        assert page.locator("#fires li").count() == 10
        assert page.locator("#said").is_hidden()
        assert violations(page) == []
