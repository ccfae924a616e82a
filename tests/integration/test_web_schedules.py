"""Schedules as pages: seen, made with a look at the moments, changed, paused, run, removed."""

import pytest
import time_machine

from shared.unit_of_work import UnitOfWork
from tests.browsing import Browser, browser_of
from tests.conftest import Api
from tests.factories import MODEL, add_model
from tests.integration.test_schedules_api import SCHEDULES, look, wanted

FORM = {
    "name": "nightly",
    "kind": "inference",
    "cron": "30 2 * * *",
    "time_zone": "Europe/Berlin",
    "overlap": "queue",
    "catch_up_hours": "1.5",
    "jitter_s": "60",
    "min_new": "2",
    "model": MODEL,
    "label": "night",
    "priority": "background",
    "explain": "positives",
}


@pytest.fixture
def browser(any_api: Api) -> Browser:
    """Somebody who may operate, where there is a model."""
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
    return browser_of(any_api, "read", "operate")


def test_schedule_is_made_paused_resumed_run_and_removed(any_api: Api, browser: Browser) -> None:
    made = browser.submit("/new-schedule", on="/new-schedule", **FORM)
    page = made.headers["Location"]
    (schedule,) = any_api.get(SCHEDULES).json["items"]

    told = {name: schedule[name] for name in ("kind", "cron", "overlap", "catch_up_s", "jitter_s", "min_new")}
    calendar = {"kind": "inference", "cron": "30 2 * * *", "overlap": "queue"}
    assert told == calendar | {"catch_up_s": 5400, "jitter_s": 60, "min_new": 2}
    assert (schedule["job"]["model"], schedule["job"]["every_version"]) == (MODEL, False)
    assert browser.get(page).text.count(" 02:30 +0") + browser.get(page).text.count(" 03:00 +0") == 5

    browser.submit(f"{page}/pause", on=page, reason="the <b>scanner</b> is down")
    assert "the &lt;b&gt;scanner&lt;/b&gt; is down" in browser.get("/schedules").text
    browser.submit(f"{page}/resume", on=page)
    browser.submit(f"{page}/trigger", on=page)
    browser.submit(f"{page}/trigger", on=page, status=409)
    look(any_api.prepared)
    shown = browser.get(page).text
    assert "by hand" in shown
    assert any_api.get(f"{SCHEDULES}/nightly/runs").json["items"][0]["reason"] in shown

    assert "data-confirm" in shown
    browser.submit(f"{page}/remove", on=page)
    assert "There is no schedule." in browser.get("/schedules").text


def test_form_shows_the_moments_around_a_clock_change_and_keeps_what_was_typed(any_api: Api, browser: Browser) -> None:
    with time_machine.travel("2026-10-24T00:00:00Z", tick=False):
        seen = browser.submit("/new-schedule", on="/new-schedule", status=200, **FORM, look="1").text
        refused = browser.submit(
            "/new-schedule", on="/new-schedule", status=200, **FORM | {"cron": "61 2 * * *", "label": "kept"}
        ).text

    assert any_api.get(SCHEDULES).json["items"] == []
    assert "Sun 2026-10-25 02:30 +02:00</li><li>Mon 2026-10-26 02:30 +01:00" in seen
    assert 'role="alert"' in refused
    assert "not valid" in refused
    assert 'value="61 2 * * *"' in refused
    assert 'value="kept"' in refused


def test_training_is_scheduled_and_a_change_keeps_its_options(any_api: Api, browser: Browser) -> None:
    training = {"name": "weekly", "cron": "0 1 * * 6", "training": {"model": MODEL, "options": {"epochs": 7}}}
    any_api.post(SCHEDULES, json=training)
    page = "/schedules/weekly/change"

    shown = browser.get(page).text
    browser.submit(page, on=page, **FORM | {"name": "weekly", "kind": "training", "cron": "0 3 * * 6"})
    browser.submit("/new-schedule", on="/new-schedule", **FORM | {"name": "monthly", "kind": "training"})

    assert 'name="priority"' not in shown, "a training has its own queue"
    changed = any_api.get(f"{SCHEDULES}/weekly").json
    assert (changed["cron"], changed["job"]["options"]["epochs"], changed["job"]["label"]) == ("0 3 * * 6", 7, "night")
    assert any_api.get(f"{SCHEDULES}/monthly").json["kind"] == "training"


def test_reader_looks_and_changes_nothing(any_api: Api, browser: Browser) -> None:
    any_api.post(SCHEDULES, json=wanted())
    reader = browser_of(any_api, "read")

    assert "Run now" not in reader.get("/schedules/nightly").text
    assert "scope operate" in reader.get("/new-schedule", 403).text
    reader.submit("/schedules/nightly/trigger", on="/schedules", status=403)
    assert "New schedule" in browser.get("/schedules").text
    assert "New schedule" not in reader.get("/schedules").text
    reader.get("/schedules/nothing", 404)
