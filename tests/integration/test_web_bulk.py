"""From the list: all that match are cancelled or tried again, after a look at how many; and another model is asked."""

import re

from shared.unit_of_work import UnitOfWork
from tests.browsing import Browser, browser_of
from tests.conftest import Api
from tests.factories import MODEL, add_model, submit_job
from tests.reviews import fail, model

JOBS = "/api/v1/jobs"


def test_all_that_match_are_cancelled_after_a_look(any_api: Api) -> None:
    for label in ("night", "night", "day"):
        submit_job(any_api.prepared.engine, 2, label=label)
    browser = Browser(any_api, any_api.prepared.token)

    shown = browser.get("/jobs?state=queued&label=night").text
    look = "/jobs/cancel?state=queued&label=night"
    asked = browser.get(look).text
    counts = any_api.get(f"{JOBS}/counts").json["counts"]
    before = re.search(r'name="created_before" value="([^"]+)"', asked)
    assert before is not None
    done = browser.submit(
        "/jobs/cancel", on=look, status=200, state="queued", label="night", created_before=before[1]
    ).text

    assert look.replace("&", "&amp;") in shown
    assert "/jobs/retry" not in shown, "what waits has not failed"
    assert "2 jobs would be cancelled, of which 4 images" in asked
    assert counts["queued"] == 3, "to look changes nothing"
    assert "2 jobs were cancelled" in done
    assert [one["label"] for one in any_api.get(f"{JOBS}?state=queued").json["items"]] == ["day"]
    assert '<form method="post" action="/jobs/cancel"' not in browser.get(look).text, "nothing is left to cancel"


def test_all_that_failed_are_tried_again_after_a_look(any_api: Api) -> None:
    fail(any_api.prepared, model(any_api.prepared), "1.2.3")
    browser = Browser(any_api, any_api.prepared.token)

    asked = browser.get("/jobs/retry?state=failed").text
    done = browser.submit("/jobs/retry", on="/jobs/retry?state=failed", status=200, state="failed").text

    assert "1 jobs would be tried again, 1 images" in asked
    assert "1 jobs are tried again" in done
    assert any_api.get(f"{JOBS}?state=queued").json["items"][0]["retry_of"]


def test_who_does_not_operate_touches_only_their_own(any_api: Api) -> None:
    submit_job(any_api.prepared.engine, 2)

    submitter, reader = browser_of(any_api, "read", "submit"), browser_of(any_api, "read")

    assert "Only mine" in submitter.get("/jobs/cancel").text
    assert "0 jobs would be cancelled" in submitter.get("/jobs/cancel").text
    assert "Cancel all" not in reader.get("/jobs").text
    reader.get("/jobs/cancel", 403)


def test_another_model_is_asked_about_the_images_of_a_job(any_api: Api) -> None:
    job = submit_job(any_api.prepared.engine, 3, label="night")
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session, "other")
    browser = browser_of(any_api, "read", "submit")
    page = f"/jobs/{job}"

    shown = browser.get(page).text
    made = browser.submit(f"{page}/rerun", on=page, model="other:1").headers["Location"]
    unknown = any_api.post(JOBS, json={"jobs": ["01a20fdb-8f94-75f9-9123-f4612e95134f"], "model": MODEL})

    assert f'value="{MODEL}:1"' in shown
    again = any_api.get(f"{JOBS}/{made.rpartition('/')[2]}").json
    assert (again["model"]["name"], again["label"], again["counts"]["total"]) == ("other", "night", 3)
    assert (unknown.status_code, unknown.json["errors"][0]["pointer"]) == (422, "/jobs/0")
    browser.submit(f"{page}/rerun", on=page, status=422, model="nothing")
