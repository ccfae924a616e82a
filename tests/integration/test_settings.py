"""Settings as the API shows them: all of them, whether somebody set them, and no password."""

from dataclasses import replace
from typing import Any

import pytest

from api.services import make_services
from api.views.settings import without_secrets
from shared.config import Settings, load_settings
from tests.conftest import Api, Prepared, header_reader, make_app

SETTINGS = "/api/v1/settings"


def by_name(answer: Any) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return {one["name"]: one for one in answer.json["items"]}


def told(shown: dict[str, dict[str, Any]], name: str) -> tuple[Any, ...]:
    return tuple(shown[name][field] for field in ("value", "unit", "origin"))


def test_every_setting_is_shown_with_its_meaning(any_api: Api) -> None:
    shown = by_name(any_api.get(SETTINGS))

    assert list(shown) == list(Settings.model_fields)
    assert all(one["description"] for one in shown.values())
    assert told(shown, "lease_s") == (30.0, "s", "default")
    assert told(shown, "min_free_bytes") == (268435456, "bytes", "default")
    assert told(shown, "logins_per_minute") == (20, "a minute", "default")
    assert told(shown, "max_crashes") == (3, None, "default")
    assert (shown["store_dir"]["origin"], shown["broker_url"]["origin"]) == ("default", "default")
    assert shown["data_dir"]["origin"] == "environment"
    is_sqlite = any_api.prepared.engine.dialect.name == "sqlite"
    assert (shown["database_url"]["origin"] == "default") == is_sqlite


def test_settings_are_for_admins(any_api: Api) -> None:
    made = any_api.post("/api/v1/tokens", json={"principal": "Ann", "scopes": ["operate", "read"]}).json

    assert any_api.get(SETTINGS, headers={"Authorization": f"Bearer {made['token']}"}).status_code == 403


def test_no_password_leaves_the_server(prepared: Prepared) -> None:
    """Nothing connects to these: the services of the test use the database that there is."""
    given = load_settings(
        data_dir=prepared.settings.data_dir,
        database_url="postgresql+psycopg://overread:hunter2@db:5432/overread?sslpassword=hunter3&sslmode=require",
        broker_url="rediss://:hunter4@broker:6379/0",
        lease_s=45.0,
    )
    services = replace(make_services(prepared.settings), settings=given, headers=header_reader())
    try:
        answer = Api(make_app(services), prepared).get(SETTINGS)
    finally:
        services.engine.dispose()

    shown = by_name(answer)
    assert "hunter" not in answer.text
    assert shown["database_url"]["value"] == (
        "postgresql+psycopg://overread:***@db:5432/overread?sslmode=require&sslpassword=hidden"
    )
    assert shown["broker_url"]["value"] == "rediss://:***@broker:6379/0"
    assert told(shown, "lease_s") == (45.0, "s", "environment")


@pytest.mark.parametrize("url", ["redis://:pw@a:1;redis://:pw@b:2", "redis://:pw@a;redis://:pw@b", "pw"])
def test_of_what_is_no_url_nothing_is_shown(url: str) -> None:
    assert without_secrets(url) == "***"
