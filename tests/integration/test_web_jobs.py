"""Tonight, the list of jobs and a job, as pages: what they show, and what a person does there."""

import re

import pytest

from tests.browsing import Browser, browser_of
from tests.conftest import Api
from tests.factories import submit_job
from tests.reviews import fail, model, reported

JOBS = "/api/v1/jobs"
EFFUSION = (0.9, 0.2, 0.3)


def test_tonight_says_what_is_wrong_first(any_api: Api) -> None:
    browser = Browser(any_api, any_api.prepared.token)
    any_api.post("/api/v1/queues/routine/pause", json={"reason": "<b>moving</b> house"})

    page = browser.get("/").text

    assert "Look at this" in page
    assert "The routine queue is paused by admin: &lt;b&gt;moving&lt;/b&gt; house" in page
    assert "No worker is alive" in page
    assert page.index("Look at this") < page.index("Queues")


def test_jobs_are_listed_with_their_counts_and_found_by_what_the_address_says(any_api: Api) -> None:
    reported(any_api.prepared, EFFUSION)
    fail(any_api.prepared, model(any_api.prepared, name="other"), "1.2.3")
    browser = browser_of(any_api, "read")

    everything, failed = browser.get("/jobs").text, browser.get("/jobs?state=failed").text

    assert everything.count("<tr>") == 3
    assert 'href="/jobs?state=failed">failed <b>1</b>' in everything
    assert failed.count("<tr>") == 2
    assert 'aria-current="true">failed' in failed
    assert "No job is like this." in browser.get("/jobs?label=nothing").text
    assert "No job is like this." in browser.get("/jobs?q=nothing").text
    assert browser.get("/jobs?q=OTHER").text.count("<tr>") == 2
    assert 'href="/jobs?mine=true">Mine <b>0</b>' in everything
    assert ">Mine <b>2</b>" in Browser(any_api, any_api.prepared.token).get("/jobs").text
    assert "other 1" in failed


def test_waiting_job_tells_every_cause_in_the_readers_language(any_api: Api) -> None:
    submit_job(any_api.prepared.engine)
    second = submit_job(any_api.prepared.engine)
    any_api.post("/api/v1/queues/routine/pause", json={"reason": "moving house"})
    browser = browser_of(any_api, "read")

    english, listed = browser.get(f"/jobs/{second}").text, browser.get("/jobs").text
    browser.get("/language/zh?next=/", 303)
    chinese = browser.get(f"/jobs/{second}").text

    told = any_api.get(f"{JOBS}/{second}").json
    assert told["waits_for"] == ["broker_unreachable", "lane_paused", "no_live_worker", "shards_ahead"]
    assert (
        "</b> no hint reaches a worker, its lane is paused, no worker serves its lane, shards ahead of it: 1" in english
    )
    assert "</b> 提示消息无法到达工作进程、所在队列已暂停、没有工作进程处理其队列、前面的分片：1 " in chinese
    for page in (english, chinese):
        assert f'<span class="hint" lang="en">{told["waiting"]}</span>' in page
    assert listed.count(f'<span title="{told["waiting"]}">no hint reaches a worker</span>') == 2


def test_job_shows_its_reports_and_why_images_failed(any_api: Api) -> None:
    reported(any_api.prepared, EFFUSION)
    (job,) = any_api.get(JOBS).json["items"]
    (report,) = any_api.get("/api/v1/reports").json["items"]
    browser = browser_of(any_api, "read")

    page = browser.get(f"/jobs/{job['id']}").text

    assert f'href="/reports/{report["id"]}"' in page
    assert "first shard claimed" in page
    assert "Cancel" not in page, "it is over, and the token may not submit"
    fail(any_api.prepared, model(any_api.prepared, name="other"), "1.2.3")
    (failed,) = any_api.get(f"{JOBS}?state=failed").json["items"]
    assert (
        any_api.get(f"{JOBS}/{failed['id']}/items").json["items"][0]["reason_text"]
        in browser.get(f"/jobs/{failed['id']}?state=failed").text
    )


def test_failed_job_is_tried_again_from_its_page(any_api: Api) -> None:
    fail(any_api.prepared, model(any_api.prepared), "1.2.3")
    (failed,) = any_api.get(JOBS).json["items"]
    page = f"/jobs/{failed['id']}"
    reader, submitter = browser_of(any_api, "read"), browser_of(any_api, "submit", "read")
    operator = browser_of(any_api, "submit", "read", "operate")

    assert "/retry" not in reader.get(page).text
    assert "/retry" not in submitter.get(page).text, "it is the admin's"
    reader.submit(f"{page}/retry", on=page, status=403)
    assert "take the scope operate" in submitter.submit(f"{page}/retry", on=page, status=403).text
    retried = operator.submit(f"{page}/retry", on=page)

    assert f'href="{page}"' in submitter.get(retried.headers["Location"]).text, "it names what it is a retry of"
    cancelled = retried.headers["Location"]
    assert "data-confirm" in submitter.get(cancelled).text, "the same principal asked for it, by another token"
    submitter.submit(f"{cancelled}/cancel", on=cancelled)
    assert 'state cancelled">' in submitter.get(cancelled).text


@pytest.mark.parametrize(
    ("path", "status"), [("/jobs/01a20fdb-8f94-75f9-9123-f4612e95134f", 404), ("/jobs?cursor=x", 422)]
)
def test_refusal_is_a_page_too(api: Api, path: str, status: int) -> None:
    page = Browser(api, api.prepared.token).get(path, status).text

    assert 'role="alert"' in page
    assert "Tonight" in page, "one finds the way on"


@pytest.mark.parametrize(
    ("language", "whom", "said"),
    [
        ("en", "physicians", "<h2>How you review</h2>"),
        ("en", "operators", "<code>no_live_worker</code>"),
        ("zh", "physicians", "<h2>如何审阅</h2>"),
        ("zh", "operators", "<td>没有工作进程处理它的队列</td>"),
    ],
)
def test_pages_lead_to_what_their_words_mean_with_pictures(api: Api, language: str, whom: str, said: str) -> None:
    browser = Browser(api, api.prepared.token)
    browser.get(f"/language/{language}?next=/", 303)

    page = browser.get(f"/help/{whom}").text

    assert f'href="/help/{whom}"' in browser.get("/").text
    assert said in page
    found = re.findall(r'<img src="(pictures/[^"]+)" alt="[^"]+"', page)
    assert found
    for picture in found:
        assert browser.get(f"/help/{picture}", buffered=True).mimetype == "image/png"


def test_help_has_nothing_else(api: Api) -> None:
    browser = Browser(api, api.prepared.token)

    for path in ("nobody", "pictures/none.png", "pictures/../for-operators.md"):
        browser.get(f"/help/{path}", 404)
