"""Roles of principals: an admin gives them with a token, they are listed, and each change is on record."""

from sqlalchemy import select

from shared.db import reading
from shared.models import AuditEvent
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
