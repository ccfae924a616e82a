"""The reading room as people use it: a real browser before the whole product."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cohorts import film, zipped
from tests.model_samples import accept_everything_package, zip_package
from tests.screens import DESK, PHONE, overflows, violations, window
from tests.system import System, running_system

SCRIPT = "<script>document.title='harmed'</script>"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[System]:
    """Running, with a model that takes any image and a finished job; it starts only where there is a browser."""
    folder = tmp_path_factory.mktemp("model")
    package = zip_package(accept_everything_package(folder / "package"), folder / "package.zip")
    with running_system() as running:
        running.add_model(package)
        films = ((f"{number}.dcm", film(SCRIPT, 1, number)) for number in range(3))
        job = running.submit(zipped(films), label=f"night {SCRIPT}")
        running.finished(job["id"])
        running.reports(job["id"], 1)
        yield running


@pytest.fixture
def url(system: System) -> str:
    return f"http://127.0.0.1:{system.port}"


@pytest.fixture
def token(system: System) -> str:
    return (system.files / "admin-token").read_text().strip()


def rooms(page: Any) -> list[str]:
    """Where the bar above leads."""
    return [link.get_attribute("href") for link in page.locator(".top nav a").all()]


def test_login_is_asked_for_and_leads_back(browser: Any, url: str, token: str) -> None:
    with window(browser, url) as page:
        page.goto("/jobs")
        page.fill("#token", "ovr_wrong")
        page.press("#token", "Enter")
        assert page.locator("[role=alert]").is_visible()
        page.fill("#token", token)
        page.press("#token", "Enter")
        page.wait_for_url("**/jobs")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_room_is_for_everybody(browser: Any, url: str, token: str, theme: str, size: dict[str, int]) -> None:
    """No violation of WCAG 2.2 AA that axe finds, and nothing that runs out of the window."""
    with window(browser, url, token, color_scheme=theme, viewport=size) as page:
        page.goto("/jobs")
        job = page.locator("#jobs tbody a").first.get_attribute("href")
        for path in [
            *rooms(page),
            job,
            "/help/physicians",
            "/help/operators",
            "/jobs/01a20fdb-8f94-75f9-9123-f4612e95134f",
            "/login",
        ]:
            page.goto(path)
            page.wait_for_load_state("networkidle")
            assert violations(page) == [], path
            assert not overflows(page), path
            assert page.title() != "harmed", path


def test_page_shows_by_itself_what_happens_meanwhile(browser: Any, url: str, token: str, system: System) -> None:
    with window(browser, url, token) as page:
        page.goto("/")
        assert page.locator("#verdict h2").inner_text() == "All is well"
        system.http.post("/api/v1/queues/routine/pause", json={"reason": "moving house"})
        try:
            page.locator("#verdict", has_text="moving house").wait_for(timeout=15_000)
        finally:
            system.http.post("/api/v1/queues/routine/resume")
        page.locator("#verdict", has_text="All is well").wait_for(timeout=15_000)


def test_times_are_those_of_the_readers_zone(browser: Any, url: str, token: str) -> None:
    with window(browser, url, token, timezone_id="Asia/Tokyo") as page:
        page.goto("/jobs")
        shown = page.locator("#jobs time").first
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", shown.get_attribute("title"))
        assert "UTC" not in shown.inner_text()


def test_waiting_job_is_cancelled_after_a_question(browser: Any, url: str, token: str, system: System) -> None:
    system.http.post("/api/v1/queues/background/pause", json={"reason": "tests"})
    job = system.submit(zipped([("a.dcm", film("P9", 1, 9))]), priority="background")
    with window(browser, url, token) as page:
        page.goto(f"/jobs/{job['id']}")
        page.once("dialog", lambda dialog: dialog.dismiss())
        page.click("text=Cancel")
        assert system.job(job["id"])["state"] == "queued"
        page.once("dialog", lambda dialog: dialog.accept())
        page.click("text=Cancel")
        page.locator("#job .state.cancelled").wait_for(timeout=15_000)
        page.click("text=Retry what failed")
        page.wait_for_url(lambda found: job["id"] not in found)
    system.http.post("/api/v1/queues/background/resume")


def test_zip_becomes_a_report_that_a_physician_signs_by_keyboard(
    browser: Any, url: str, token: str, system: System, tmp_path: Path
) -> None:
    """All of it in the browser: sent, looked at, queued, watched, read, judged, signed."""
    night = tmp_path / "night.zip"
    night.write_bytes(zipped((f"{number}.dcm", film(f"P5 {SCRIPT}", 1, number)) for number in range(2)))
    with window(browser, url, token) as page:
        page.goto("/submit")
        page.set_input_files("#files", night)
        page.locator("#rows tr").nth(1).wait_for()
        page.click("#wish button.main")
        page.locator("#job .state.done").wait_for(timeout=120_000)
        page.locator("#reports a").first.wait_for(timeout=60_000)
        report = page.locator("#reports a").first.get_attribute("href")
    asked = {"principal": "Dr Jansen", "scopes": ["read", "review"], "roles": ["physician"]}
    physician = system.http.post("/api/v1/tokens", json=asked).json()["token"]

    with window(browser, url, physician) as page:
        assert rooms(page) == ["/", "/worklist", "/reports", "/jobs", "/models", "/schedules"]
        page.goto(report)
        assert page.title() != "harmed"
        for key in ("j", "d"):
            page.keyboard.press(key)
        assert page.locator("input[value=disagree]").first.is_checked()
        page.once("dialog", lambda dialog: dialog.accept())
        for key in ("Escape", "s", "Enter"):
            page.keyboard.press(key)
        page.wait_for_url("**/reports/*after=*", timeout=60_000)
        assert "Dr Jansen" in page.inner_text("main")
        made = page.url.rsplit("/", 1)[1].partition("?")[0]
    assert system.http.get(f"/api/v1/reports/{made}").json()["status"] == "final"


def test_image_of_a_report_is_looked_at(browser: Any, url: str, token: str) -> None:
    """Beside its finding, where dragging changes the window."""
    with window(browser, url, token) as page:
        page.goto("/reports")
        page.locator("main tbody a").first.click()
        page.locator(".looks a").first.click()
        shown = page.locator(".viewer-window")
        shown.filter(has_text=re.compile(r"\d")).wait_for(timeout=30_000)
        before, box = shown.inner_text(), page.locator(".viewer canvas").bounding_box()
        page.mouse.move(box["x"] + 100, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 180, box["y"] + 140, steps=4)
        page.mouse.up()
        page.wait_for_function("before => document.querySelector('.viewer-window').innerText !== before", arg=before)
        assert violations(page) == []
