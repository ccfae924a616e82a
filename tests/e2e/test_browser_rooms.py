"""What people do in the rooms beside submitting, in a real browser: rows stand for the work that workers did."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from shared.config import load_settings
from shared.db import make_engine
from tests.conftest import Prepared
from tests.factories import MODEL
from tests.integration.test_schedules_api import look
from tests.reporting import report_on_all
from tests.reviews import fail, model, predict, reported
from tests.screens import PHONE, overflows, violations, window
from tests.services import api_at
from tests.web_models import judged

MIXED = (0.9, 0.2, 0.3)
# A signature makes documents, which a busy machine takes long for.
PATIENCE_MS = 120_000
PASSWORD = "correct horse battery"
CHAMPION, SECOND = f"/models/{MODEL}/1", f"/models/{MODEL}/2"
EVERYBODYS = ["/", "/reports", "/jobs", "/models", "/schedules"]
ADMINS = ["/admin", "/admin/people/admin", "/admin/tokens", "/admin/audit", "/admin/settings"]
ROLES = {
    "submitter": (["/submit"], ["/worklist", "/new-schedule", *ADMINS]),
    "operator": (["/submit"], ["/worklist", *ADMINS]),
    "physician": (["/worklist"], ["/submit", "/new-schedule", *ADMINS]),
    "admin": (["/worklist", "/submit", "/admin"], []),
}
# What each sees of what can be done: on a model version, on a schedule, on a report and on a failed job.
BUTTONS = {"Promote": SECOND, "Run now": "/schedules/weekly", "Save, unsigned": "REPORT", "Retry what failed": "JOB"}
SEEN = {
    "submitter": [],
    "operator": ["Promote", "Run now", "Retry what failed"],
    "physician": ["Save, unsigned"],
    "admin": list(BUTTONS),
}


@pytest.fixture(scope="module")
def prepared(browser: Any, tmp_path_factory: pytest.TempPathFactory, sqlite_template: Any) -> Iterator[Prepared]:
    """One for all tests of this file; what one of them changes no other one looks at."""
    settings = load_settings(data_dir=tmp_path_factory.mktemp("rooms"))
    shutil.copy(sqlite_template[0], settings.data_dir / "overread.sqlite")
    engine = make_engine(settings)
    yield Prepared(settings, engine, sqlite_template[1])
    engine.dispose()


@pytest.fixture(scope="module")
def url(prepared: Prepared) -> Iterator[str]:
    """The API, with a version that the gate judged, two patients' reports and a failed job."""
    reported(prepared, MIXED, name="chest")
    predict(prepared, model(prepared, name="thorax"), {"1.2.20260103": [MIXED]}, patient="P3")
    report_on_all(prepared.engine)
    fail(prepared, model(prepared, name="broken"), "1.2.20260102", patient="P2")
    judged(prepared)
    with api_at(prepared.settings) as url:
        yield url


@pytest.fixture(scope="module")
def http(url: str, prepared: Prepared) -> Iterator[httpx.Client]:
    """An admin's."""
    with httpx.Client(base_url=url, headers=prepared.headers) as client:
        weekly = {"name": "weekly", "cron": "0 6 * * 1", "time_zone": "UTC", "job": {"model": MODEL}}
        assert client.post("/api/v1/schedules", json=weekly).status_code == 201
        yield client


@contextmanager
def somebody(browser: Any, url: str, http: httpx.Client, role: str) -> Iterator[Any]:
    """A window of a person with this role, logged in with a password."""
    name = f"the {role}"
    http.post("/api/v1/principals", json={"name": name, "roles": [role]})
    http.put(f"/api/v1/principals/{name}/password", json={"password": PASSWORD})
    with window(browser, url) as page:
        page.set_default_timeout(PATIENCE_MS)
        page.goto("/login")
        page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.press("#password", "Enter")
        page.wait_for_url(lambda found: "/login" not in found)
        yield page


def answered(page: Any, *, yes: bool) -> None:
    """The next question is answered so."""
    page.once("dialog", lambda dialog: dialog.accept() if yes else dialog.dismiss())


def tab_to(page: Any, selector: str) -> None:
    """By the Tab key alone."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
    raise AssertionError(f"no Tab leads to {selector}")


@pytest.mark.parametrize("role", ROLES)
def test_each_role_sees_only_what_it_may(browser: Any, url: str, http: httpx.Client, role: str) -> None:
    rooms, closed = ROLES[role]
    report = http.get("/api/v1/reports?patient_id=P1").json()["items"][0]["id"]
    job = http.get("/api/v1/jobs?state=failed").json()["items"][0]["id"]
    places = {"REPORT": f"/reports/{report}", "JOB": f"/jobs/{job}"}
    with somebody(browser, url, http, role) as page:
        shown = [link.get_attribute("href") for link in page.locator(".top nav a").all()]
        assert sorted(shown) == sorted([*EVERYBODYS, *rooms])
        assert {path: page.goto(path).status for path in shown} == dict.fromkeys(shown, 200)
        for path in closed:
            assert page.goto(path).status == 403, path
            assert page.locator("h1").inner_text() == "That did not work", path
            assert page.locator("main [role=alert]").is_visible(), path
        seen = []
        for button, path in BUTTONS.items():
            page.goto(places.get(path, path))
            seen += [button] * page.get_by_role("button", name=button, exact=True).count()
        assert seen == SEEN[role]


def test_schedule_is_made_seen_paused_and_run(browser: Any, url: str, http: httpx.Client, prepared: Prepared) -> None:
    with somebody(browser, url, http, "operator") as page:
        page.goto("/schedules")
        page.click("text=New schedule")
        page.fill("[name=name]", "nightly")
        page.fill("[name=cron]", "15 4 * * *")
        page.fill("[name=time_zone]", "Asia/Kolkata")
        page.select_option("[name=model]", MODEL)
        page.wait_for_selector("#fires li:has-text('04:15 +05:30')")
        foreseen = page.locator("#fires li").all_inner_texts()
        page.click("text=Save")
        page.wait_for_url("**/schedules/nightly")
        assert page.locator("#standing .moments li").all_inner_texts() == foreseen[:5]

        page.fill("#reason", "the scanner is down")
        page.get_by_role("button", name="Pause").click()
        page.locator("#standing", has_text="the scanner is down").wait_for()
        page.get_by_role("button", name="Resume").click()
        page.locator("#standing .moments").wait_for()
        page.click("text=Run now")
        look(prepared)
        page.locator("#runs", has_text="by hand").wait_for()
        assert violations(page) == []
        answered(page, yes=True)
        page.get_by_role("button", name="Remove").click()
        page.wait_for_url("**/schedules")
        assert "nightly" not in page.inner_text("main")


def test_version_is_promoted_and_rolled_back_after_a_question(browser: Any, url: str, http: httpx.Client) -> None:
    with somebody(browser, url, http, "operator") as page:
        page.goto(SECOND)
        page.fill("#promote-reason", "sees small ones")
        answered(page, yes=False)
        page.get_by_role("button", name="Promote").click()
        page.reload()
        assert page.locator("#model .state.champion").count() == 0, "it was only asked"
        page.fill("#promote-reason", "sees small ones")
        answered(page, yes=True)
        page.get_by_role("button", name="Promote").click()
        page.locator("#model .state.champion").wait_for()
        assert "sees small ones" in page.inner_text("#promotions")

        page.fill("#rollback-reason", "misses some")
        answered(page, yes=True)
        page.get_by_role("button", name="Roll back").click()
        page.wait_for_url(f"**{CHAMPION}")
        page.locator("#model .state.champion").wait_for()
        assert "misses some" in page.inner_text("#promotions")
        assert violations(page) == []


def test_failed_job_is_tried_again(browser: Any, url: str, http: httpx.Client) -> None:
    failed = http.get("/api/v1/jobs?state=failed").json()["items"][0]["id"]
    with somebody(browser, url, http, "operator") as page:
        page.goto("/jobs?state=failed")
        page.locator("#jobs tbody a").first.click()
        page.get_by_role("button", name="Retry what failed").dblclick()
        page.wait_for_url(lambda found: failed not in found)
        page.locator("#job .state.queued").wait_for()
        assert page.locator(f"#job a[href='/jobs/{failed}']").is_visible(), "it says what it tries again"
    retries = [job for job in http.get("/api/v1/jobs?limit=500").json()["items"] if job["retry_of"] == failed]
    assert len(retries) == 1, "pressed twice, sent once"


def test_signed_report_is_amended_and_retracted_by_keyboard(browser: Any, url: str, http: httpx.Client) -> None:
    report = http.get("/api/v1/reports?patient_id=P3").json()["items"][0]["id"]
    signed = re.compile(r"/reports/[0-9a-f-]+\?after=")
    with somebody(browser, url, http, "physician") as page:
        page.goto(f"/reports/{report}")
        for key in ("j", "a", "j", "a", "j", "a", "s"):
            page.keyboard.press(key)
        answered(page, yes=True)
        page.keyboard.press("Enter")
        page.wait_for_url(signed)

        tab_to(page, "a[href$='?amend=yes']")
        page.keyboard.press("Enter")
        page.wait_for_url("**?amend=yes")
        assert page.locator("input[value=agree]:checked").count() == 3, "what was signed stands there"
        for key in ("j", "d"):
            page.keyboard.press(key)
        tab_to(page, "#reason")
        page.keyboard.type("it was the ribs")
        for key in ("Escape", "s"):
            page.keyboard.press(key)
        answered(page, yes=True)
        page.keyboard.press("Enter")
        page.wait_for_url(signed)
        assert page.locator("#standing").get_attribute("class").endswith("amended")
        assert "it was the ribs" in page.inner_text("main")

        tab_to(page, "summary:has(+ form[action$=retract])")
        page.keyboard.press("Enter")
        tab_to(page, "#why")
        page.keyboard.type("of another patient")
        answered(page, yes=True)
        page.keyboard.press("Enter")
        page.locator("#standing.retracted").wait_for()
        assert "of another patient" in page.inner_text("main")
        assert violations(page) == []


def test_admin_adds_a_person_and_is_told_that_somebody_stays_admin(
    browser: Any, url: str, prepared: Prepared, http: httpx.Client
) -> None:
    with window(browser, url, prepared.token, viewport=PHONE) as page:
        page.goto("/admin")
        page.fill("#name", "Dr Jansen")
        page.get_by_label("physician").check()
        page.get_by_role("button", name="Add").click()
        page.wait_for_url("**/admin/people/Dr%20Jansen")
        assert page.get_by_label("physician").is_checked()
        page.get_by_label("submitter").check()
        with page.expect_navigation():
            page.get_by_role("button", name="Save").click()
        assert http.get("/api/v1/principals/Dr Jansen").json()["roles"] == ["submitter", "physician"]
        digest = http.get("/api/v1/datasets").json()["items"][0]["digest"]
        for path in [page.url, "/admin/audit/chain", f"/datasets/{digest}", SECOND, *ADMINS]:
            page.goto(path)
            assert violations(page) == [], path
            assert not overflows(page), path
