"""The page that files are submitted on: what it offers, to whom, and that its requests are the API's."""

import re

from shared.unit_of_work import UnitOfWork
from tests.browsing import Browser, browser_of
from tests.conftest import Api
from tests.dicom_samples import dicom_bytes
from tests.factories import MODEL, add_model


def test_page_offers_the_models_that_serve(any_api: Api) -> None:
    empty = Browser(any_api, any_api.prepared.token).get("/submit").text
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)

    page = browser_of(any_api, "read", "submit").get("/submit").text

    assert "no model that serves" in empty
    assert f"<option>{MODEL}</option>" in page
    assert 'value="routine" selected' in page
    assert "What a job would do" in page


def test_who_may_not_submit_is_told_so_and_sees_no_way_there(any_api: Api) -> None:
    browser = browser_of(any_api, "read")

    assert "scope submit" in browser.get("/submit", 403).text
    assert 'href="/submit"' not in browser.get("/jobs").text


def test_session_of_a_browser_sends_files_only_with_the_word_of_its_page(any_api: Api) -> None:
    browser = browser_of(any_api, "read", "submit")
    word = re.search(r'name="csrf" content="(\w+)"', browser.get("/submit").text)
    assert word is not None
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
    headers = {"X-CSRF-Token": word[1]}

    refused = browser.client.post("/api/v1/uploads", json={})
    upload = browser.client.post("/api/v1/uploads", json={}, headers=headers).json["id"]
    path = f"/api/v1/uploads/{upload}"
    browser.client.post(path, data=dicom_bytes(), content_type="application/dicom", headers=headers)
    plan = browser.client.post("/api/v1/jobs", json={"uploads": [upload], "dry_run": True}, headers=headers)

    assert refused.status_code == 403
    assert plan.json["counts"]["new"] == 1
    assert browser.client.get(path).json["counts"]["stored"] == 1
