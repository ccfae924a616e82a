"""A browser's session: begun by a token or a password, in a cookie, ended by logging out or with its token."""

import re
from http.cookies import SimpleCookie

import pytest
from sqlalchemy import select

from api.services import EXTENSION
from shared.db import reading
from shared.models import AuditEvent, Token
from tests.browsing import Browser
from tests.conftest import Api

SESSIONS, TOKENS = "/api/v1/sessions", "/api/v1/tokens"
PASSWORD = "correct horse battery"


def cookie(browser: Browser) -> str:
    found = browser.client.get_cookie("overread_session")
    assert found is not None
    return str(found.value)


def csrf(browser: Browser) -> str:
    found = re.search(r'name="csrf" content="([0-9a-f]+)"', browser.get("/").text)
    assert found is not None
    return found[1]


def with_password(api: Api, *roles: str) -> None:
    api.post(TOKENS, json={"principal": "Dr Jansen", "scopes": ["read"], "roles": list(roles)})
    answer = api.call("PUT", "/api/v1/principals/Dr Jansen/password", json={"password": PASSWORD})
    assert answer.status_code == 204, answer.text


def test_page_leads_to_the_login_and_back(any_api: Api) -> None:
    browser = Browser(any_api)

    sent = browser.get("/jobs?state=failed", 303)
    assert sent.headers["Location"] == "/login?next=%2Fjobs%3Fstate%3Dfailed"
    form = browser.get(sent.headers["Location"])
    assert 'name="next" value="/jobs?state=failed"' in form.text
    done = browser.client.post("/login", data={"token": any_api.prepared.token, "next": "/jobs?state=failed"})

    assert (done.status_code, done.headers["Location"]) == (303, "/jobs?state=failed")
    assert "admin" in browser.get("/jobs").text


@pytest.mark.parametrize(
    "after", ["//evil.example", "https://evil.example/", "/\\evil.example", "evil", "", "//[", "/ok\r\nX: 1"]
)
def test_login_leads_to_no_other_site(api: Api, after: str) -> None:
    done = Browser(api).client.post("/login", data={"token": api.prepared.token, "next": after})

    assert (done.status_code, done.headers["Location"]) == (303, "/")


def test_cookie_is_out_of_scripts_reach_and_only_sent_over_tls_behind_it(api: Api) -> None:
    form = {"token": api.prepared.token}

    plain = api.app.test_client().post("/login", data=form)
    secure = api.app.test_client().post("/login", data=form, base_url="https://overread.example")

    for answer, is_secure in ((plain, False), (secure, True)):
        (found,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
        assert (found["httponly"], found["samesite"], bool(found["secure"])) == (True, "Lax", is_secure)
        assert api.prepared.token not in found.value, "the session has a secret of its own"


def test_wrong_token_or_password_is_refused_alike(api: Api) -> None:
    with_password(api, "physician")
    forms = [
        {"token": "ovr_wrong"},
        {"name": "Dr Jansen", "password": "wrong"},
        {"name": "nobody", "password": PASSWORD},
        {"name": "admin", "password": ""},
        {},
    ]

    answers = [api.app.test_client().post("/login", data=form) for form in forms]

    assert {answer.status_code for answer in answers} <= {401, 422}
    assert len({re.search(r'role="alert">([^<]+)', answer.text)[1] for answer in answers}) == 1  # type: ignore[index]
    assert not any("Set-Cookie" in answer.headers for answer in answers)


def test_password_gives_what_the_roles_say(any_api: Api) -> None:
    with_password(any_api, "physician", "submitter")
    browser = Browser(any_api)

    browser.client.post("/login", data={"name": "Dr Jansen", "password": PASSWORD})

    me = browser.get("/api/v1/me").json
    assert (me["name"], me["roles"]) == ("Dr Jansen", ["physician", "submitter"])
    assert set(me["scopes"]) == {"read", "review", "submit"}
    with reading(any_api.prepared.engine) as session:
        assert PASSWORD not in str(session.execute(select(AuditEvent.detail)).all())


def test_too_many_tries_as_one_principal_have_to_wait(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a slow machine what may be tried again grows faster than one can try.
    monkeypatch.setattr(api.app.extensions[EXTENSION].rates, "_now", lambda: 0.0)
    with_password(api)
    wrong = {"name": "Dr Jansen", "password": "wrong"}

    answers = [api.app.test_client().post(SESSIONS, json=wrong) for _ in range(8)]

    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert api.app.test_client().post(SESSIONS, json={"name": "other", "password": "w"}).status_code == 401


def test_logging_out_ends_the_session_for_whoever_has_its_cookie(any_api: Api) -> None:
    browser, thief = Browser(any_api, any_api.prepared.token), Browser(any_api)
    thief.client.set_cookie("overread_session", cookie(browser))
    thief.get("/jobs")

    browser.submit("/logout")

    browser.get("/", 303)
    thief.get("/jobs", 303)
    assert any_api.get("/api/v1/me").status_code == 200, "the token that began it goes on"


def test_session_ends_with_the_token_that_began_it(any_api: Api) -> None:
    made = any_api.post(TOKENS, json={"principal": "Ann", "scopes": ["read"]}).json
    browser = Browser(any_api, made["token"])
    browser.get("/")

    any_api.call("DELETE", f"{TOKENS}/{made['id']}")

    browser.get("/", 303)


def test_session_begins_no_other(any_api: Api) -> None:
    """It would go on after the end of what began the first one."""
    secret = cookie(Browser(any_api, any_api.prepared.token))

    answer = any_api.app.test_client().post(SESSIONS, json={}, headers={"Authorization": f"Bearer {secret}"})

    assert answer.status_code == 422
    assert "begins no other" in answer.json["detail"]


def test_sessions_count_to_the_limits_of_their_token(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(any_api.app.extensions[EXTENSION].rates, "_now", lambda: 0.0)
    wanted = {"principal": "Ann", "scopes": ["read"], "requests_per_minute": 18}
    headers = {"Authorization": f"Bearer {any_api.post(TOKENS, json=wanted).json['token']}"}
    client = any_api.app.test_client()

    begun = client.post(SESSIONS, json={}, headers=headers)
    of_session = {"Authorization": f"Bearer {begun.json['secret']}"}
    answers = [client.get("/api/v1/me", headers=of_session), client.get("/api/v1/me", headers=headers)]

    assert [begun.status_code, *(one.status_code for one in answers)] == [201, 200, 200]
    assert client.get("/api/v1/me", headers=of_session).status_code == 429
    assert client.post(SESSIONS, json={}, headers=headers).status_code == 429


@pytest.mark.parametrize("act", ["password", "disable"])
def test_sessions_of_a_password_end_with_it_and_with_being_let_in(any_api: Api, act: str) -> None:
    with_password(any_api, "physician")
    browser, path = Browser(any_api), "/api/v1/principals/Dr Jansen"
    browser.client.post("/login", data={"name": "Dr Jansen", "password": PASSWORD})
    browser.get("/reports")

    if act == "password":
        any_api.call("PUT", f"{path}/password", json={"password": PASSWORD[::-1]})
    else:
        for is_disabled in (True, False):
            assert any_api.call("PATCH", path, json={"disabled": is_disabled}).status_code == 200

    browser.get("/reports", 303)


def test_who_changes_their_own_password_stays(any_api: Api) -> None:
    with_password(any_api, "admin")
    browser, other = Browser(any_api), Browser(any_api)
    for one in (browser, other):
        one.client.post("/login", data={"name": "Dr Jansen", "password": PASSWORD})
    page = "/admin/people/Dr Jansen"

    browser.submit(f"{page}/password", on=page, status=200, password=PASSWORD[::-1])

    browser.get("/reports")
    other.get("/reports", 303)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 303),
        ({"Origin": "http://localhost"}, 303),
        ({"Sec-Fetch-Site": "none"}, 303),
    ],
)
def test_page_of_another_site_logs_nobody_in(api: Api, headers: dict[str, str], status: int) -> None:
    """Else a reader would work on as somebody else without seeing it."""
    answer = api.app.test_client().post("/login", data={"token": api.prepared.token}, headers=headers)

    assert answer.status_code == status
    assert ("Set-Cookie" in answer.headers) == (status == 303)


def test_page_that_is_not_there_is_told_on_a_page_and_to_programs_as_ever(api: Api) -> None:
    browser, html = Browser(api, api.prepared.token), {"Accept": "text/html,*/*;q=0.8"}

    assert "There is no such page." in browser.get("/nothing/here", 404, headers=html).text
    for path, headers in (("/api/v1/nothing", html), ("/nothing", {"Accept": "*/*"})):
        assert browser.get(path, 404, headers=headers).content_type == "application/problem+json"


def test_session_does_not_outlast_its_token(any_api: Api) -> None:
    made = any_api.post(TOKENS, json={"principal": "Ann", "scopes": ["read"], "expires_days": 1}).json
    headers = {"Authorization": f"Bearer {made['token']}"}

    begun = any_api.app.test_client().post(SESSIONS, json={}, headers=headers).json

    assert begun["lasts_s"] <= 12 * 3600 + 1
    with reading(any_api.prepared.engine) as session:
        assert str(session.scalar(select(Token.parent_id).where(Token.name == "browser session"))) == made["id"]


def test_change_by_cookie_takes_the_pages_word(any_api: Api) -> None:
    """A page of another site can make a browser send the cookie, but does not know the word."""
    browser = Browser(any_api, any_api.prepared.token)
    lane, body = "/api/v1/queues/routine/pause", {"reason": "tests"}

    assert browser.client.post(lane, json=body).status_code == 403
    assert browser.client.post(lane, json=body, headers={"X-CSRF-Token": "0" * 64}).status_code == 403
    assert browser.client.post("/logout", data={"csrf": "é"}).status_code == 403
    assert browser.client.post("/logout").status_code == 403
    assert browser.client.post(lane, json=body, headers={"X-CSRF-Token": csrf(browser)}).status_code == 200


def test_session_is_told_its_word_and_a_token_needs_none(any_api: Api) -> None:
    browser = Browser(any_api, any_api.prepared.token)

    assert browser.get("/api/v1/me").json["csrf"] == csrf(browser)
    assert any_api.get("/api/v1/me").json["csrf"] is None


def test_pages_let_no_foreign_script_in_and_are_kept_by_nobody(api: Api) -> None:
    browser = Browser(api, api.prepared.token)

    for path in ("/", "/jobs", "/login"):
        headers = browser.get(path).headers
        policy = dict(one.split(" ", 1) for one in headers["Content-Security-Policy"].split("; "))
        assert (policy["default-src"], policy["script-src"], policy["frame-ancestors"]) == (
            "'none'",
            "'self'",
            "'none'",
        )
        assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")
        assert "<script>" not in browser.get(path).text
        assert " style=" not in browser.get(path).text, "the policy allows none"


def test_page_that_did_not_change_is_not_sent_again(api: Api) -> None:
    browser = Browser(api, api.prepared.token)
    first = browser.get("/jobs")

    assert browser.client.get("/jobs", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    browser.get("/language/zh?next=/jobs", 303)
    other = browser.client.get("/jobs", headers={"If-None-Match": first.headers["ETag"]})
    assert (other.status_code, "任务" in other.text, 'lang="zh-Hans"' in other.text) == (200, True, True)
