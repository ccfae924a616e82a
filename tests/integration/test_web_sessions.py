"""In a real browser: a session that ends takes nothing with it that was typed, and leaves nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Api
from tests.factories import MODEL
from tests.reviews import REPORTS, document, reported
from tests.screens import served, violations, window
from tests.web_models import judged

TOKENS = "/api/v1/tokens"
ENDED, UNREACHABLE = "#ended", "#unreachable"
LATER_MS = 20_000


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    with served(api.app) as found:
        yield found


def token_of(api: Api, name: str, *scopes: str) -> dict[str, Any]:
    made: dict[str, Any] = api.post(TOKENS, json={"principal": name, "scopes": list(scopes or ("read", "review"))}).json
    return made


def end(api: Api, token: dict[str, Any]) -> None:
    assert api.call("DELETE", f"{TOKENS}/{token['id']}").status_code == 204


def log_in(page: Any, token: dict[str, Any]) -> None:
    """In another tab, where the page's own link leads."""
    with page.context.expect_page() as opened:
        page.click(f"{ENDED} a")
    other = opened.value
    other.fill("#token", token["token"])
    other.press("#token", "Enter")
    other.wait_for_url(lambda found: "/login" not in found)
    other.close()
    page.bring_to_front()


def test_review_that_was_typed_outlives_the_session_and_is_sent_after_another_login(
    browser: Any, url: str, api: Api
) -> None:
    first, token = reported(api.prepared, (0.9, 0.2, 0.3)), token_of(api, "resident")
    with window(browser, url, token["token"]) as page:
        page.clock.install()
        page.goto(f"/reports/{first}")
        page.fill("#comment", "half a sentence")
        end(api, token)
        page.clock.run_for(LATER_MS)
        page.wait_for_selector(ENDED)
        assert "The session of resident has ended." in page.inner_text(ENDED)
        assert violations(page) == []
        page.click("button[value=save]")
        page.wait_for_function("() => document.querySelector('#comment').value === 'half a sentence'")
        assert page.url.endswith(first), "nothing was sent"

        log_in(page, token_of(api, "somebody else"))
        page.click("button[value=save]")
        page.wait_for_timeout(300)
        assert page.is_visible(ENDED), "it is not theirs to send"
        log_in(page, token_of(api, "resident"))
        page.clock.run_for(LATER_MS)
        page.wait_for_selector(ENDED, state="hidden")
        page.click("button[value=save]")
        page.wait_for_url("**/reports/*after=*")

    (newest,) = api.get(REPORTS).json["items"]
    review = document(api, newest["id"])["review"]
    assert (review["reviewer"], review["comment"]) == ("resident", "half a sentence")


def test_page_that_nobody_typed_on_goes_with_its_session(browser: Any, url: str, api: Api) -> None:
    first, token = reported(api.prepared, (0.9, 0.2, 0.3)), token_of(api, "resident")
    with window(browser, url, token["token"]) as page:
        page.clock.install()
        page.goto(f"/reports/{first}")
        end(api, token)
        page.clock.run_for(LATER_MS)
        page.wait_for_url(f"**/login?next=*{first}")


def test_form_is_not_sent_where_nobody_answers(browser: Any, url: str, api: Api) -> None:
    first, token = reported(api.prepared, (0.9, 0.2, 0.3)), token_of(api, "resident")
    with window(browser, url, token["token"]) as page:
        page.goto(f"/reports/{first}")
        page.fill("#comment", "half a sentence")
        page.context.set_offline(True)
        page.click("button[value=save]")
        page.wait_for_selector(UNREACHABLE)
        assert page.input_value("#comment") == "half a sentence"
        page.context.set_offline(False)
        page.click("button[value=save]")
        page.wait_for_url("**/reports/*after=*")


def test_part_that_somebody_typed_in_is_not_replaced(browser: Any, url: str, api: Api) -> None:
    judged(api.prepared)
    with window(browser, url, token_of(api, "Ann", "read", "operate")["token"]) as page:
        page.clock.install()
        page.goto(f"/models/{MODEL}/2")
        page.fill("#promote-reason", "sees small ones")
        page.locator("#promote-reason").blur()
        api.post(f"/api/v1/models/{MODEL}/versions/2/promote", json={"reason": ""})
        page.clock.run_for(LATER_MS)
        page.wait_for_selector("#model .champion")

        assert page.input_value("#promote-reason") == "sees small ones"
