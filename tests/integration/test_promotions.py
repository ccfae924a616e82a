"""Which version serves a name: promoted, taken back, and on record."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.db import reading
from shared.models import AuditEvent
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api
from tests.factories import MODEL, add_model

MODELS = f"/api/v1/models/{MODEL}"


@pytest.fixture(autouse=True)
def versions(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        for number in range(3):
            add_model(uow.session, description=f"version {number}")


def promote(api: Api, number: int) -> None:
    assert api.post(f"{MODELS}/versions/{number}/promote", json={}).status_code == 200


def roll_back(api: Api, number: int, reason: str = "") -> Any:
    return api.post(f"{MODELS}/versions/{number}/rollback", json={"reason": reason})


def serving(api: Api) -> list[int]:
    listed = api.get("/api/v1/models").json["items"]
    return [one["version"] for one in listed if one["state"] == "champion"]


def test_rollback_goes_back_one_by_one_and_is_on_record(any_api: Api) -> None:
    promote(any_api, 2)
    assert any_api.post(f"{MODELS}/versions/3/promote", json={"reason": "sees small ones"}).status_code == 200

    first = roll_back(any_api, 3, "misses small ones")
    promote(any_api, 3)
    again = roll_back(any_api, 3)
    second = roll_back(any_api, 2)

    assert [one.json["version"] for one in (first, again, second)] == [2, 2, 1]
    assert serving(any_api) == [1]
    told = any_api.get(f"{MODELS}/promotions").json["items"]
    assert [(one["version"], one["kind"]) for one in told] == [
        (1, "rolled_back"),
        (2, "rolled_back"),
        (3, "promoted"),
        (2, "rolled_back"),
        (3, "promoted"),
        (2, "promoted"),
        (1, "first"),
    ]
    assert [one["reason"] for one in told[3:]] == ["misses small ones", "sees small ones", "", ""]
    with reading(any_api.prepared.engine) as session:
        acts = [row.action for row in session.query(AuditEvent) if row.object_kind == "model_version"]
    assert acts.count("model.rollback") == 3


def test_same_rollback_twice_goes_back_once(any_api: Api) -> None:
    promote(any_api, 2)
    promote(any_api, 3)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: roll_back(any_api, 3), range(4)))

    assert sorted(one.status_code for one in answers) == [200, 409, 409, 409]
    assert serving(any_api) == [2]
    refused = roll_back(any_api, 3)
    assert "retired; only the champion" in refused.json["detail"]


def test_nothing_to_go_back_to_is_said(any_api: Api) -> None:
    refused = roll_back(any_api, 1)

    assert refused.status_code == 409
    assert "No version served before" in refused.json["detail"]
    assert serving(any_api) == [1]
    assert any_api.get("/api/v1/models/other/promotions").status_code == 404
    assert any_api.post("/api/v1/models/other/versions/1/rollback", json={}).status_code == 404


def test_who_chose_a_version_is_on_record(any_api: Api) -> None:
    made = any_api.post("/api/v1/tokens", json={"principal": "Ann", "scopes": ["operate"]}).json
    as_ann = {"Authorization": f"Bearer {made['token']}"}
    own = any_api.get("/api/v1/me").json["name"]
    promote(any_api, 2)

    back = any_api.app.test_client().post(f"{MODELS}/versions/2/rollback", json={}, headers=as_ann)

    assert back.status_code == 200
    told = any_api.get(f"{MODELS}/promotions").json["items"]
    assert [(one["by"], one["by_gate"]) for one in told] == [("Ann", False), (own, False), (own, False)]
    card = any_api.get(f"{MODELS}/versions/1/card").json
    assert [one["by"] for one in card["promotions"]] == ["Ann", own]
    assert "rolled back by Ann" in any_api.get(f"{MODELS}/versions/1/card.html").text
