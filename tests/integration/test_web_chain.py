"""In a real browser: the audit chain is followed to its end, or from as far as one came."""

from collections.abc import Iterator
from typing import Any

import pytest

from api.web import audit
from scheduler.seals import Sealing
from tests.conftest import Api
from tests.integration.test_audit_trail import add_events
from tests.screens import served, violations, window

CHAIN = "/admin/audit/chain"


@pytest.fixture
def page(browser: Any, api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An admin's, of a chain that goes on after what it shows."""
    add_events(api.prepared, 30)
    Sealing(api.prepared.engine).run()
    monkeypatch.setattr(audit, "SEALS", 7)
    with served(api.app) as url, window(browser, url, api.prepared.token) as found:
        yield found


def test_chain_is_followed_to_its_end(page: Any, api: Api) -> None:
    page.goto(CHAIN)

    page.wait_for_selector("#checking", state="detached")
    assert page.inner_text("#last") == api.get("/api/v1/audit/chain").json["head"]
    assert page.inner_text("#said") == "The chain holds, up to its newest seal."
    assert violations(page) == []


def test_chain_that_cannot_be_followed_says_so_and_goes_on_from_there(page: Any) -> None:
    asked: list[str] = []

    def break_off(route: Any) -> None:
        asked.append(route.request.url)
        (route.abort if len(asked) > 1 else route.continue_)()

    page.route("**/api/v1/audit/chain?*", break_off)
    page.goto(CHAIN)

    alarm = page.locator("#checking .alarm")
    alarm.wait_for()
    assert alarm.inner_text().startswith("The server cannot be reached.")
    assert violations(page) == []
    assert [one.partition("cursor=")[2].partition(":")[0] for one in asked] == ["7", "14"]
    page.unroute("**/api/v1/audit/chain?*")
    page.get_by_role("button", name="Check the rest").click()
    page.wait_for_url("**?cursor=14*")
    page.wait_for_selector("#checking", state="detached")
