"""Every refusal is a problem document with the right status."""

import io
from typing import Any

import pytest

from tests.conftest import Api

JOBS = "/api/v1/jobs"
UPLOADS = "/api/v1/uploads"
NOBODY = "01a20fdb-8f94-75f9-9123-f4612e95134f"


def _is_problem(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["detail"]


@pytest.mark.parametrize("token", [None, "Bearer nonsense", "Basic YTpi", "Bearer "])
def test_request_is_refused_when_token_is_missing_or_wrong(api: Api, token: str | None) -> None:
    headers = {"Authorization": token} if token else {}

    answer = api.app.test_client().get(JOBS, headers=headers)

    _is_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_request_is_refused_when_token_lacks_scope(api: Api) -> None:
    token = api.post("/api/v1/tokens", json={"principal": "reader", "scopes": ["read"]}).json["token"]
    headers = {"Authorization": f"Bearer {token}"}

    may_read = api.app.test_client().get(JOBS, headers=headers)
    may_not_submit = api.app.test_client().post(JOBS, json={}, headers=headers)

    assert may_read.status_code == 200
    _is_problem(may_not_submit, 403)
    assert "lacks the scope submit" in may_not_submit.json["detail"]


def test_request_is_refused_when_token_expired(api: Api) -> None:
    made = api.post("/api/v1/tokens", json={"principal": "brief", "scopes": ["read"], "expires_days": 1e-9})

    answer = api.app.test_client().get(JOBS, headers={"Authorization": f"Bearer {made.json['token']}"})

    _is_problem(answer, 401)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"data": "{", "content_type": "application/json"}, 400),
        ({"json": {"nonsense": 1}}, 422),
        ({"json": []}, 422),
        ({"json": {"priority": "asap"}}, 422),
        ({"json": {"uploads": ["not-a-uuid"]}}, 422),
        ({"json": {"uploads": [str(NOBODY)], "model": "unknown"}}, 422),
        ({"json": {"studies": ["1.2.3"], "model": "unknown:99999999999999999999"}}, 422),
        ({"json": {"studies": ["../../etc/passwd"]}}, 422),
        ({"data": b"x", "content_type": "text/plain"}, 415),
        ({"data": b"x", "content_type": "multipart/form-data"}, 422),
        ({"data": b"not a zip", "content_type": "application/zip"}, 422),
    ],
)
def test_job_is_refused_when_request_is_wrong(api: Api, given: dict[str, Any], status: int) -> None:
    _is_problem(api.post(JOBS, **given), status)


@pytest.mark.parametrize("cursor", ["nonsense", "'; DROP TABLE job; --", "%00"])
def test_list_is_refused_when_cursor_is_not_ours(api: Api, cursor: str) -> None:
    _is_problem(api.get(f"{JOBS}?cursor={cursor}"), 422)


@pytest.mark.parametrize(
    "path", [f"{JOBS}/{NOBODY}", f"{JOBS}/nonsense", f"/api/v1/reports/{NOBODY}", "/nowhere", f"{UPLOADS}/{NOBODY}"]
)
def test_get_answers_404_when_there_is_no_such_thing(api: Api, path: str) -> None:
    _is_problem(api.get(path), 404)


def test_method_is_refused_when_route_does_not_know_it(api: Api) -> None:
    _is_problem(api.call("DELETE", JOBS), 405)


def test_json_is_refused_when_it_is_larger_than_allowed(api: Api) -> None:
    too_large = io.BytesIO(b" " * (api.prepared.settings.max_json_bytes + 1))

    _is_problem(api.post(JOBS, data=too_large, content_type="application/json"), 413)


def test_openapi_document_is_valid_and_names_every_route(api: Api) -> None:
    from openapi_spec_validator import validate

    document = api.app.test_client().get("/openapi.json").json

    validate(document)
    assert document["openapi"].startswith("3.1")
    for act in ("review", "amend", "retract"):
        parameters = document["paths"][f"/api/v1/reports/{{report_id}}/{act}"]["post"]["parameters"]
        assert [one["required"] for one in parameters if one["name"] == "If-Match"] == [True]
    for path in (JOBS, UPLOADS, "/api/v1/reports", "/api/v1/models", "/api/v1/queues", "/api/v1/workers"):
        assert path in document["paths"]


def test_docs_page_needs_nothing_from_outside(api: Api) -> None:
    client = api.app.test_client()

    page = client.get("/docs")

    assert page.status_code == 200
    assert "http" not in page.text.replace("http-equiv", "")
    with client.get("/docs/assets/js/swagger-ui-bundle.js") as asset:
        assert asset.status_code == 200


def test_refusal_stays_small_when_a_request_has_a_thousand_faults(api: Api) -> None:
    answer = api.post(JOBS, json={"studies": ["not a uid"] * 1000})

    _is_problem(answer, 422)
    assert len(answer.json["errors"]) == 100
    assert len(answer.data) < 20_000


@pytest.mark.parametrize("media_type", ["application/x+json", "text/plain"])
def test_body_is_bounded_when_its_media_type_is_not_json(api: Api, media_type: str) -> None:
    too_large = io.BytesIO(b" " * (api.prepared.settings.max_json_bytes + 1))

    answer = api.post("/api/v1/tokens", data=too_large, content_type=media_type)

    _is_problem(answer, 413)


def test_json_is_refused_when_it_is_nested_too_deep(api: Api) -> None:
    deep = '{"label":' + "[" * 100_000 + "]" * 100_000 + "}"

    _is_problem(api.post(JOBS, data=deep, content_type="application/json"), 400)


def test_promotion_answers_404_when_the_version_is_absurd(api: Api) -> None:
    _is_problem(api.post(f"/api/v1/models/any/versions/{10**30}/promote", json={}), 404)
