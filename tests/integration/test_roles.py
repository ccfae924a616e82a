"""Principals: their roles, whether they are let in, each change on record, and always somebody who is admin."""

from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.db import reading
from shared.models import AuditEvent, Principal, Token
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api

TOKENS, PRINCIPALS = "/api/v1/tokens", "/api/v1/principals"


def roles(api: Api) -> dict[str, list[str]]:
    return {one["name"]: one["roles"] for one in api.get(PRINCIPALS).json["items"]}


def test_roles_are_set_with_a_token_and_stay_until_set_again(any_api: Api) -> None:
    wanted = {"principal": "dr.a", "scopes": ["review"]}
    assert roles(any_api) == {"admin": ["admin"]}

    any_api.post(TOKENS, json=wanted | {"roles": ["physician", "operator", "physician"]})
    any_api.post(TOKENS, json=wanted)
    assert roles(any_api) == {"dr.a": ["physician", "operator"], "admin": ["admin"]}
    any_api.post(TOKENS, json=wanted | {"roles": ["physician", "operator"]})
    any_api.post(TOKENS, json=wanted | {"roles": []})
    assert roles(any_api)["dr.a"] == []

    with reading(any_api.prepared.engine) as session:
        told = session.scalars(select(AuditEvent.detail).where(AuditEvent.action == "principal.roles")).all()
    assert told == [
        {"before": [], "after": ["physician", "operator"]},
        {"before": ["physician", "operator"], "after": []},
    ]


def test_role_is_refused_when_it_is_unknown_or_for_nobody_in_person(api: Api) -> None:
    unknown = api.post(TOKENS, json={"principal": "dr.a", "scopes": ["review"], "roles": ["surgeon"]})
    assert (unknown.status_code, unknown.json["errors"][0]["pointer"]) == (422, "/roles/0")
    admin = api.post(TOKENS, json={"principal": "admin", "scopes": ["review"], "roles": ["physician"]})
    assert (admin.status_code, "nobody's name" in admin.json["detail"]) == (422, True)
    assert roles(api) == {"admin": ["admin"]}


def test_only_an_admin_sees_principals_and_gives_roles(api: Api) -> None:
    made = api.post(TOKENS, json={"principal": "dr.a", "scopes": ["review", "read", "operate"]}).json
    headers = {"Authorization": f"Bearer {made['token']}"}

    assert api.get(PRINCIPALS, headers=headers).status_code == 403
    wanted = {"principal": "dr.a", "scopes": ["review"], "roles": ["physician"]}
    assert api.post(TOKENS, json=wanted, headers=headers).status_code == 403


def test_principals_come_in_pages(api: Api) -> None:
    for at in range(3):
        api.post(TOKENS, json={"principal": f"p{at}", "scopes": ["read"]})

    first = api.get(f"{PRINCIPALS}?limit=3").json
    rest = api.get(f"{PRINCIPALS}?limit=3&cursor={first['next']}").json

    assert [one["name"] for one in first["items"] + rest["items"]] == ["p2", "p1", "p0", "admin"]
    assert rest["next"] is None


def patch(api: Api, name: str, **wanted: Any) -> Any:
    return api.call("PATCH", f"{PRINCIPALS}/{name}", json=wanted)


def acts(api: Api) -> list[str]:
    with reading(api.prepared.engine) as session:
        statement = select(AuditEvent.action).where(AuditEvent.object_kind == "principal").order_by(AuditEvent.id)
        return list(session.scalars(statement))


def admin_with_password(api: Api, name: str) -> None:
    api.post(PRINCIPALS, json={"name": name, "roles": ["admin"]})
    api.call("PUT", f"{PRINCIPALS}/{name}/password", json={"password": "correct horse battery"})


def token_id(api: Api) -> Any:
    return api.get("/api/v1/me").json["token"]


def test_principal_is_made_and_changed_and_each_act_is_on_record(any_api: Api) -> None:
    made = any_api.post(PRINCIPALS, json={"name": "dr.a", "roles": ["physician"]})
    assert (made.status_code, made.json["roles"], made.json["has_password"]) == (201, ["physician"], False)
    assert any_api.post(PRINCIPALS, json={"name": "dr.a"}).status_code == 409
    disabled = patch(any_api, "dr.a", roles=["operator"], disabled=True)
    assert (disabled.json["roles"], disabled.json["disabled_at"] is not None) == (["operator"], True)
    patch(any_api, "dr.a", roles=["operator"], disabled=True)
    assert patch(any_api, "dr.a", disabled=False).json["disabled_at"] is None
    assert any_api.get(f"{PRINCIPALS}/dr.a").json["roles"] == ["operator"]

    twice = ["principal.create", "principal.roles"]
    assert acts(any_api)[-5:] == [*twice, "principal.roles", "principal.disable", "principal.enable"]
    assert patch(any_api, "nobody", disabled=True).status_code == 404


def test_tokens_of_a_disabled_principal_are_no_good(any_api: Api) -> None:
    made = any_api.post(TOKENS, json={"principal": "dr.a", "scopes": ["read"]}).json
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert any_api.get("/api/v1/jobs", headers=headers).status_code == 200

    patch(any_api, "dr.a", disabled=True)
    assert any_api.get("/api/v1/jobs", headers=headers).status_code == 401
    patch(any_api, "dr.a", disabled=False)

    assert any_api.get("/api/v1/jobs", headers=headers).status_code == 200


def test_last_admin_is_neither_disabled_nor_revoked(any_api: Api) -> None:
    """By a session that the last admin's token began, which outlives nothing."""
    session = any_api.post("/api/v1/sessions", json={}).json["secret"]
    own = {"Authorization": f"Bearer {session}"}
    any_api.post(PRINCIPALS, json={"name": "dr.a", "roles": ["admin"]})

    assert "Nobody could" in patch(any_api, "admin", disabled=True).json["detail"]
    revoked = any_api.call("DELETE", f"{TOKENS}/{token_id(any_api)}", headers=own)
    assert (revoked.status_code, "Nobody could" in revoked.json["detail"]) == (409, True)
    assert any_api.get(PRINCIPALS).status_code == 200, "nothing of it was done"

    admin_with_password(any_api, "dr.b")
    assert patch(any_api, "dr.b", roles=[]).status_code == 200, "the token of admin is there"
    patch(any_api, "dr.b", roles=["admin"])
    assert any_api.call("DELETE", f"{TOKENS}/{token_id(any_api)}", headers=own).status_code == 204


@pytest.mark.parametrize("wanted", [{"roles": ["operator"]}, {"disabled": True}, None], ids=["roles", "out", "token"])
def test_last_admin_with_a_password_stays(any_api: Api, wanted: dict[str, Any] | None) -> None:
    """The first admin's token is over; sessions of others do not count, and neither does a token that ended."""
    admin_with_password(any_api, "dr.b")
    login = {"name": "dr.b", "password": "correct horse battery"}
    secret = any_api.app.test_client().post("/api/v1/sessions", json=login).json["secret"]
    own = {"Authorization": f"Bearer {secret}"}
    any_api.call("DELETE", f"{TOKENS}/{token_id(any_api)}", headers=own)

    if wanted is None:
        asked = {"principal": "dr.b", "scopes": ["read"], "roles": ["operator"]}
        answer = any_api.post(TOKENS, json=asked, headers=own)
    else:
        answer = any_api.call("PATCH", f"{PRINCIPALS}/dr.b", json=wanted, headers=own)

    assert answer.status_code == 409, answer.text
    assert any_api.get("/api/v1/me", headers=own).json["roles"] == ["admin"]


def test_two_admins_cannot_take_each_others_rights(any_api: Api) -> None:
    names = ("dr.b", "dr.c")
    for name in names:
        admin_with_password(any_api, name)
    with UnitOfWork(any_api.prepared.engine) as uow:
        uow.session.execute(update(Token).values(name="browser session"))
    together, found = Barrier(2), []

    def disable(name: str) -> None:
        together.wait()
        found.append(patch(any_api, name, disabled=True).status_code)

    threads = [Thread(target=disable, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == [200, 409]
    with reading(any_api.prepared.engine) as session:
        assert len(session.scalars(select(Principal.id).where(Principal.disabled_at.is_not(None))).all()) == 1
