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
from tests.screens import overflows, violations, window
from tests.services import api_at


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
        drop(page, tmp_path / "night.zip", tmp_path / "study")
        page.wait_for_selector("#rows tr")
        page.fill("[name=label]", "from the browser")
        page.select_option("[name=explain]", "none")
        page.wait_for_url(re.compile("explain=none.*label=from"))

        assert page.locator("#rows tr").count() == 4
        assert "study/series/3.dcm" in page.inner_text("#rows")
        counts = dict(line.split("\t") for line in page.inner_text("#counts").splitlines())
        assert (counts["Images of the job"], counts["To be predicted"], counts["Rejected files"]) == ("4", "3", "1")
        assert violations(page) == []
        page.click("#outcomes a:has-text('rejected')")
        page.wait_for_url(re.compile("outcome=rejected"))
        assert page.locator("#rows tr").count() == 1
        page.click("#wish .main")
        page.wait_for_url(re.compile("/jobs/[0-9a-f-]{36}$"))

        job = page.context.request.get(f"/api/v1/jobs/{page.url.rpartition('/')[2]}").json()
        assert (job["label"], job["explain"]) == ("from the browser", "none")
        assert "0 of 4" in page.inner_text("#job")


def test_folder_is_sent_through_a_break_and_what_is_there_already_is_not_sent_again(
    browser: Any, url: str, prepared: Prepared, tmp_path: Path
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.dcm").write_bytes(dicom_bytes(SOPInstanceUID=make_uid("folder", number)))
    (tmp_path / ".hidden").write_text("passed over")
    with window(browser, url, prepared.token) as page:
        page.goto("/submit")
        tried: list[str] = []

        def break_once(route: Any) -> None:
            tried.append(route.request.url)
            if len(tried) == 1:
                route.abort()
            else:
                route.continue_()

        page.route(re.compile("/api/v1/uploads/[0-9a-f-]+$"), break_once)
        page.set_input_files("#folder", tmp_path)
        page.wait_for_selector("#rows tr")
        assert page.locator("#rows .stored").count() == 3
        assert len(tried) == 2, "what broke was sent again"

        (tmp_path / "new.dcm").write_bytes(dicom_bytes(SOPInstanceUID=make_uid("folder", 9)))
        page.goto("/submit")
        page.set_input_files("#files", [tmp_path / "0.dcm", tmp_path / "new.dcm", tmp_path / "2.dcm"])
        page.wait_for_selector("#rows tr:nth-child(3)")

        assert len(tried) == 3
        assert page.locator("#rows .duplicate").count() == 2
        assert page.locator("#rows .stored").count() == 1
        page.goto("/submit")
        page.set_input_files("#files", [tmp_path / "0.dcm", tmp_path / "2.dcm"])
        page.wait_for_selector("#rows tr:nth-child(2)")
        assert len(tried) == 3, "no byte of what is there was sent"
        assert {"0.dcm", "2.dcm"} == set(page.locator("#rows th").all_inner_texts())
        assert not overflows(page)


def test_files_are_sent_and_queued_without_a_script(browser: Any, url: str, prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "night.zip").write_bytes(zip_of_two_and_a_note())
    with window(browser, url, prepared.token, java_script_enabled=False) as page:
        page.goto("/submit")
        page.set_input_files("noscript [name=files] >> nth=0", tmp_path / "night.zip")
        page.click("noscript button")
        page.wait_for_selector("#rows tr:nth-child(3)")
        page.fill("[name=label]", "no script")
        page.click("#look")
        page.wait_for_url(re.compile("label=no"))
        page.click("#wish .main")
        page.wait_for_url(re.compile("/jobs/[0-9a-f-]{36}$"))

        assert "0 of 3" in page.inner_text("#job")


def test_moments_of_a_calendar_follow_what_is_typed(browser: Any, url: str, prepared: Prepared) -> None:
    with window(browser, url, prepared.token) as page:
        page.goto("/new-schedule")
        page.fill("[name=time_zone]", "Asia/Kolkata")
        page.wait_for_selector("#fires li:has-text('02:30 +05:30')")
        page.fill("[name=cron]", "61 2 * * *")
        page.wait_for_selector("#said:has-text('not valid')")
        assert page.inner_text("#said b") == "Something that was given cannot be taken."
        assert page.get_attribute("#said .said", "lang") == "en"

        assert page.locator("#fires li").count() == 0
        page.fill("[name=cron]", "15 4 * * 7")
        page.wait_for_selector("#fires li:has-text('Sun')")
        assert page.locator("#fires li").count() == 10
        assert page.locator("#said").is_hidden()
        assert violations(page) == []
