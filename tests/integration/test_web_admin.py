"""The admin's room: passwords, tokens, the audit trail and its chain, and who sees which rooms."""

import html
import re
from itertools import count

import pytest

from api.services import EXTENSION
from tests.browsing import Browser, browser_of
from tests.conftest import Api

TOKENS = "/api/v1/tokens"
PASSWORD = "correct horse battery"


def token_of(api: Api, *scopes: str, name: str = "Ann") -> dict[str, str]:
    made: dict[str, str] = api.post(TOKENS, json={"principal": name, "scopes": list(scopes)}).json
    return made


def secret_on(page: str) -> str:
    found = re.search(r'<code class="secret">([^<]+)</code>', page)
    assert found is not None, page
    return found[1]


@pytest.mark.parametrize(
    ("scope", "rooms"),
    [
        ("read", ["/", "/jobs", "/models"]),
        ("review", []),
        ("admin", ["/", "/jobs", "/models", "/admin"]),
    ],
)
def test_everybody_sees_the_rooms_that_they_may_use(api: Api, scope: str, rooms: list[str]) -> None:
    browser = browser_of(api, scope)

    page = browser.client.get("/models").text

    shown = re.findall(r'<li><a href="([^"]+)"', page)
    assert set(rooms) <= set(shown)
    assert ("/admin" in shown, "/models" in shown) == ("/admin" in rooms, "/models" in rooms)


@pytest.mark.parametrize("path", ["/admin", "/admin/tokens", "/admin/audit", "/admin/settings"])
def test_room_is_for_admins(api: Api, path: str) -> None:
    browser = browser_of(api, "read", "review", "submit", "operate")

    assert "lacks the scope admin" in browser.get(path, 403).text
    assert browser.client.get(path, headers={"Accept-Language": "zh"}).status_code == 403
    Browser(api).get(path, 303)


def test_token_is_made_shown_once_and_revoked_with_its_sessions(any_api: Api) -> None:
    admin = Browser(any_api, any_api.prepared.token)
    wanted = {"principal": "Dr Jansen", "name": "<i>laptop</i>", "scope": "read", "expires_days": "30"}

    answer = admin.submit("/admin/tokens", on="/admin/tokens", status=200, **wanted)

    secret = secret_on(answer.text)
    assert answer.headers["Cache-Control"] == "no-store"
    listed = admin.get("/admin/tokens").text
    assert secret not in listed
    assert "&lt;i&gt;laptop" in listed
    made = next(one for one in any_api.get(TOKENS).json["items"] if one["principal"] == "Dr Jansen")
    assert (made["scopes"], made["expires_at"] is not None) == (["read"], True)
    holder = Browser(any_api, secret)
    holder.get("/jobs")
    holder.submit(f"/admin/tokens/{made['id']}/revoke", status=403)

    admin.submit(f"/admin/tokens/{made['id']}/revoke", on="/admin/tokens")

    holder.get("/jobs", 303)
    assert "revoked" in admin.get("/admin/tokens").text


def test_person_is_added_given_roles_and_a_password_and_shut_out(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    # A minute between any two tries to log in: they are counted.
    monkeypatch.setattr(any_api.app.extensions[EXTENSION].rates, "_now", count(0, 60).__next__)
    admin, jansen = Browser(any_api, any_api.prepared.token), Browser(any_api)
    login = {"name": "Dr Jansen", "password": PASSWORD}

    made = admin.submit("/admin/people", on="/admin", name="Dr Jansen", role="physician")
    page = made.headers["Location"]
    assert "No password is set" in admin.get(page).text
    answer = admin.submit(f"{page}/password", on=page, status=200, password=PASSWORD)
    assert "The password of Dr Jansen is set." in answer.text
    assert PASSWORD not in answer.text
    assert jansen.client.post("/login", data=login).status_code == 303
    assert jansen.get("/api/v1/me").json["scopes"] == ["review", "read"]

    admin.submit(f"{page}/roles", on=page, role="submitter")
    jansen.get("/reports", 303)
    assert jansen.client.post("/login", data=login).status_code == 303
    assert jansen.get("/api/v1/me").json["roles"] == ["submitter"]
    assert "<td>submitter" in admin.get("/admin").text

    admin.submit(f"{page}/disable", on=page)
    jansen.get("/jobs", 303)
    assert jansen.client.post("/login", data=login).status_code == 401
    assert 'state failed">disabled' in admin.get("/admin").text
    admin.submit(f"{page}/enable", on=page)
    jansen.client.post("/login", data=login)
    jansen.get("/jobs")


def test_tokens_of_one_name_are_listed_alone(any_api: Api) -> None:
    made = [token_of(any_api, "read", name=name) for name in ("Ann", "Bo - Co")]
    admin = Browser(any_api, any_api.prepared.token)

    page = admin.get("/admin/tokens?principal=Bo - Co").text

    assert f"/admin/tokens/{made[1]['id']}/revoke" in page
    assert f"/admin/tokens/{made[0]['id']}/revoke" not in page
    assert 'name="principal" value="Bo - Co"' in page, "the form is for that name"
    back = admin.submit(f"/admin/tokens/{made[1]['id']}/revoke", on="/admin/tokens", principal="Bo - Co")
    assert back.headers["Location"] == "/admin/tokens?principal=Bo+-+Co"


def test_session_does_not_offer_to_end_itself(api: Api) -> None:
    admin = Browser(api, api.prepared.token)
    mine = admin.get("/api/v1/me").json["token"]

    page = admin.get("/admin/tokens").text

    assert f"/admin/tokens/{mine}/revoke" not in page
    assert "this session" in page


@pytest.mark.parametrize(
    ("path", "form", "status", "said"),
    [
        ("/admin/people", {"name": "-"}, 422, "name"),
        ("/admin/people", {"name": "admin"}, 409, "There is a principal of this name"),
        ("/admin/people/admin/password", {"password": "short"}, 422, "password"),
        ("/admin/people/admin/roles", {"role": "physician"}, 422, "nobody's name"),
        ("/admin/people/admin/disable", {}, 409, "Nobody could do an admin's work"),
        ("/admin/tokens", {"principal": "-", "scope": "read"}, 422, "principal"),
        ("/admin/tokens", {"principal": "Ann Onym"}, 422, "scopes"),
    ],
)
def test_form_that_cannot_be_taken_is_shown_again_with_why(
    api: Api, path: str, form: dict[str, str], status: int, said: str
) -> None:
    page = Browser(api, api.prepared.token).submit(path, on="/admin", status=status, **form).text

    found = re.search(r'role="alert">(.+)</p>', page)
    assert found is not None
    assert said in html.unescape(found[1])
    assert 'class="said" lang="en">' in found[1]
    assert f'action="{path}"' in page
    kept = form.get("name") or form.get("principal", "admin")
    assert f'value="{kept}"' in page, "what was filled in stays"
    assert form.get("password", "-- none --") not in page


def test_audit_trail_is_searched(any_api: Api) -> None:
    made = token_of(any_api, "read")
    any_api.call("DELETE", f"{TOKENS}/{made['id']}")
    admin = Browser(any_api, any_api.prepared.token)

    everything = admin.get("/admin/audit").text
    revoked = admin.get(f"/admin/audit?action=token.revoke&object_kind=token&object_id={made['id']}&since=2020-01-01")

    assert ">token.create</a>" in everything
    assert revoked.text.count(">token.revoke</a>") == 1
    assert ">token.create</a>" not in revoked.text
    assert 'value="token.revoke"' in revoked.text, "the form keeps what was looked for"
    assert "Nothing like this" in admin.get("/admin/audit?principal=nobody").text
    assert "Nothing like this" in admin.get("/admin/audit?since=2999-01-01").text
    assert "give `object_kind`" in admin.get("/admin/audit?object_id=1", 422).text
    admin.get("/admin/audit?since=yesterday", 422)


def test_chain_is_checked_in_words(any_api: Api) -> None:
    token_of(any_api, "read")
    admin = Browser(any_api, any_api.prepared.token)

    page = admin.get("/admin/audit/chain").text
    foreign = admin.get(f"/admin/audit/chain?cursor=7:{'a' * 64}").text

    assert "The chain holds" in page
    assert "broken at seal 7: the chain does not go through this seal" in foreign
    assert 'class="verdict broken"' in foreign


def test_settings_are_shown_without_passwords(any_api: Api) -> None:
    page = Browser(any_api, any_api.prepared.token).get("/admin/settings").text

    assert "OVERREAD_LEASE_S" in page
    assert "A shard whose worker is silent this long is claimed again." in page
    assert str(any_api.prepared.settings.store_dir) in page


@pytest.mark.parametrize("path", ["/models", "/datasets", "/admin", "/admin/tokens", "/admin/audit", "/admin/settings"])
def test_pages_speak_chinese_and_need_no_inline_style(api: Api, path: str) -> None:
    browser = Browser(api, api.prepared.token)
    browser.get("/language/zh?next=/", 303)

    page = browser.get(path).text

    assert 'lang="zh-Hans"' in page
    assert " style=" not in page
    assert "<script>" not in page
