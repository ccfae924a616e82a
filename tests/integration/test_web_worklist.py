"""The worklist as a page: what it shows, to whom, and what a person does there."""

from typing import Any

from tests.browsing import browser_of
from tests.conftest import Api
from tests.readings import CONTROL, REVIEW, read, register_rules

WORKLIST = "/api/v1/follow-ups"
PAGE = "/worklist"


def suggested(api: Api) -> dict[str, Any]:
    """One urgent follow-up, and behind it one that is overdue; the first as the API has it."""
    version = register_rules(api.prepared.engine, REVIEW, CONTROL)
    read(api.prepared.engine, version, "<b>P1</b>", 0.5)
    read(api.prepared.engine, version, "P2", 0.9)
    (first, _) = api.get(WORKLIST).json["items"]
    return dict(first)


def whole(api: Api, item: dict[str, Any]) -> dict[str, Any]:
    return dict(api.get(f"{WORKLIST}/{item['id']}").json)


def test_worklist_has_the_urgent_first_marks_what_is_overdue_and_leads_to_the_report(any_api: Api) -> None:
    first = suggested(any_api)
    browser = browser_of(any_api, "review", "read")

    page, overdue = browser.get(PAGE).text, browser.get(f"{PAGE}?overdue=true").text

    assert page.index("P2") < page.index("&lt;b&gt;P1&lt;/b&gt;")
    assert page.count('state failed">overdue') == 1
    assert f'href="/reports/{first["report"]}"' in page
    assert "Read it today." in page
    assert "review by a physician, for Lesion" in page, "the finding by its name, not its code"
    assert "due 2026-04-01" in overdue
    assert "P2" not in overdue
    assert "No follow-up is like this." in browser.get(f"{PAGE}?state=closed").text


def test_follow_up_is_acknowledged_postponed_and_closed_with_reasons(any_api: Api) -> None:
    item = suggested(any_api)
    browser, act = browser_of(any_api, "review", "read"), f"{PAGE}/{item['id']}"

    browser.submit(f"{act}/acknowledge", on=PAGE, reason="<i>mine</i>")
    taken = browser.get(PAGE).text
    back = browser.submit(f"{act}/postpone", on=PAGE, reason="on leave", until="2099-02-01", next=f"{PAGE}?state=open")
    later = browser.get(PAGE).text
    browser.submit(f"{act}/close", on=PAGE, reason="done")

    assert "Ann</bdi>: <bdi>&lt;i&gt;mine&lt;/i&gt;" in taken
    assert f'formaction="{act}/acknowledge"' not in taken, "that it is already"
    assert back.headers["Location"] == f"{PAGE}?state=open"
    assert "due 2099-02-01" in later
    history = [(one["after"], one["reason"], one["by"]) for one in whole(any_api, item)["history"]]
    assert history == [
        ("open", history[0][1], None),
        ("acknowledged", "<i>mine</i>", "Ann"),
        ("postponed", "on leave", "Ann"),
        ("closed", "done", "Ann"),
    ]
    closed = browser.get(f"{PAGE}?state=closed").text
    assert "P2" in closed
    assert "<form" not in closed.partition("<main")[2], "nothing more can become of it"


def test_follow_up_is_left_alone_where_the_reason_or_the_date_is_missing_or_past(any_api: Api) -> None:
    item = suggested(any_api)
    browser, act = browser_of(any_api, "review", "read"), f"{PAGE}/{item['id']}"

    browser.submit(f"{act}/close", on=PAGE, status=422, reason=" ")
    browser.submit(f"{act}/postpone", on=PAGE, status=422, reason="later")
    past = browser.submit(f"{act}/postpone", on=PAGE, status=422, reason="later", until="2001-01-01").text

    assert "in the past" in past
    assert whole(any_api, item)["state"] == "open"
    assert browser.submit(f"{act}/close", on=PAGE, reason="done", next="//evil.example").headers["Location"] == "/"


def test_worklist_is_for_who_may_review(any_api: Api) -> None:
    item = suggested(any_api)
    reader = browser_of(any_api, "read")

    refused = reader.get(PAGE, 403).text

    assert "review" in refused
    assert f'href="{PAGE}"' not in refused, "and no room of theirs"
    reader.submit(f"{PAGE}/{item['id']}/close", status=403, reason="done")
    assert reader.client.post(f"{PAGE}/{item['id']}/close", data={"reason": "done"}).status_code == 403
    assert whole(any_api, item)["state"] == "open"
