"""The pages that files are submitted on, without a script: what they take, what they say of each file, and to whom."""

import re
from typing import Any

from shared.unit_of_work import UnitOfWork
from tests.body_samples import FORM as FORM_TYPE
from tests.body_samples import WORD, form
from tests.browsing import Browser, browser_of
from tests.cohorts import zipped
from tests.conftest import Api
from tests.dicom_samples import dicom_bytes, make_uid
from tests.factories import MODEL, add_model

JOBS = "/api/v1/jobs"
FORM = re.compile(
    r'action="(/submit[^"]*)" enctype="multipart/form-data">\s*<input type="hidden" name="csrf" value="(\w+)"'
)


def send(browser: Browser, on: str, files: dict[str, bytes], status: int = 303, word: str = "") -> Any:
    """As a browser without scripts sends the page's form: its word, the files, and a field that was left empty."""
    found = FORM.search(browser.get(on).text)
    assert found is not None
    body = WORD % (word or found[2]).encode() + form(files | {"": b""})
    answer = browser.client.post(found[1], data=body, content_type=FORM_TYPE)
    assert answer.status_code == status, answer.text
    return answer


def instance(number: int, **attributes: Any) -> bytes:
    return dicom_bytes(SOPInstanceUID=make_uid("plain", number), **attributes)


def test_files_are_sent_looked_at_and_queued_without_a_script(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
    browser = browser_of(any_api, "read", "submit")
    night = zipped([("one.dcm", instance(1)), ("notes.txt", b"no image")])

    page = send(browser, "/submit", {"night.zip": night, "two.dcm": instance(2)}).headers["Location"]
    seen = browser.get(page).text
    send(browser, page, {"<b>again</b>.dcm": instance(2)})
    more = browser.get(page).text
    refused = browser.get(f"{page}?outcome=rejected").text
    looked = browser.submit(f"{page}/job", on=page, look="1", model=MODEL, priority="urgent", label="n & d")
    again = browser.get(looked.headers["Location"]).text
    wish = {"model": MODEL, "priority": "urgent", "explain": "none", "label": "n & d", "once": "0af1"}
    queued = [browser.submit(f"{page}/job", on=page, **wish).headers["Location"] for _ in range(2)]

    assert "night.zip/one.dcm" in seen
    assert "2026-01-02" in seen
    assert seen.count('class="state new">') == 2
    assert "&lt;b&gt;again&lt;/b&gt;.dcm" in more
    assert 'class="state duplicate">' in more
    assert refused.count('class="state rejected">') == 1
    assert "night.zip/notes.txt" in refused
    assert "two.dcm" not in refused
    assert 'value="n &amp; d"' in again
    assert '<option value="urgent" selected>' in again
    assert queued[0] == queued[1], "pressed twice, queued once"
    job = any_api.get(f"{JOBS}/{queued[0].rpartition('/')[2]}").json
    assert (job["by"], job["priority"], job["explain"], job["label"]) == ("Ann", "urgent", "none", "n & d")
    assert job["counts"]["total"] == 3


def test_what_came_before_a_form_broke_off_is_shown_with_what_is_wrong(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
    browser = browser_of(any_api, "read", "submit")
    word = FORM.search(browser.get("/submit").text)
    assert word is not None
    whole = WORD % word[2].encode() + form({"one.dcm": instance(1), "two.dcm": instance(2)})

    answer = browser.client.post("/submit", data=whole[:-80], content_type=FORM_TYPE)

    assert answer.status_code == 422
    assert "send the rest again" in answer.text
    assert "one.dcm" in answer.text
    (upload,) = {found[1] for found in re.finditer(r'action="/submit/([0-9a-f-]{36})"', answer.text)}
    assert [file["name"] for file in any_api.get(f"/api/v1/uploads/{upload}").json["files"]] == ["one.dcm"]


def test_files_without_the_word_of_the_page_go_nowhere(any_api: Api) -> None:
    browser = browser_of(any_api, "read", "submit")
    late = {"data": form({"a": b" " * 9000}), "content_type": FORM_TYPE}

    refused = send(browser, "/submit", {"one.dcm": instance(1)}, 403, word="0" * 64)

    assert "not of this session" in refused.text
    assert browser.client.post("/submit", **late).status_code == 403
    assert browser.client.post("/logout", **late).status_code == 403


def test_files_larger_than_any_other_body_are_taken(api: Api) -> None:
    browser = browser_of(api, "read", "submit")
    big = b"no image" * (api.prepared.settings.max_json_bytes // 8 + 1)

    page = browser.get(send(browser, "/submit", {"big.bin": big}).headers["Location"]).text

    assert "16 MiB" in page
    assert "no model that serves" in page, "nothing can be queued, and what came is shown"


def test_who_may_not_submit_is_told_so_and_sees_no_way_there(any_api: Api) -> None:
    browser = browser_of(any_api, "read")

    assert "scope submit" in browser.get("/submit", 403).text
    assert 'href="/submit"' not in browser.get("/jobs").text


def test_session_of_a_browser_sends_files_only_with_the_word_of_its_page(any_api: Api) -> None:
    browser = browser_of(any_api, "read", "submit")
    word = re.search(r'name="csrf" content="(\w+)"', browser.get("/submit").text)
    assert word is not None
    headers = {"X-CSRF-Token": word[1]}

    refused = browser.client.post("/api/v1/uploads", json={})
    upload = browser.client.post("/api/v1/uploads", json={}, headers=headers).json["id"]
    path = f"/api/v1/uploads/{upload}"
    browser.client.post(path, data=dicom_bytes(), content_type="application/dicom", headers=headers)

    assert refused.status_code == 403
    assert browser.client.get(path).json["counts"]["stored"] == 1
