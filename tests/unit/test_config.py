"""Settings: from the environment or files, checked once, frozen."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.config import Settings, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("OVERREAD_")]:
        monkeypatch.delenv(name)


def test_paths_and_urls_follow_the_data_folder_when_they_are_not_set(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)

    assert settings.database_url == f"sqlite:///{tmp_path}/overread.sqlite"
    assert settings.broker_url == f"redis+socket://{tmp_path}/run/valkey.sock"
    assert settings.store_dir == tmp_path / "store"


def test_data_folder_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert load_settings().data_dir == tmp_path.resolve() / "overread-data"


def test_environment_is_read_and_an_override_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVERREAD_DATA_DIR", str(tmp_path / "env"))
    monkeypatch.setenv("OVERREAD_API_PORT", "9999")
    monkeypatch.setenv("OVERREAD_DATABASE_URL", "postgresql://db/overread")

    settings = load_settings(api_port=1234)

    assert settings.data_dir == tmp_path / "env"
    assert settings.api_port == 1234
    assert settings.database_url == "postgresql://db/overread"


def test_secret_is_read_from_a_file_when_its_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "OVERREAD_DATABASE_URL").write_text("postgresql://user:secret@db/overread\n")
    monkeypatch.setenv("OVERREAD_SECRETS_DIR", str(tmp_path))

    settings = load_settings()

    assert settings.database_url == "postgresql://user:secret@db/overread"


def test_setting_tells_where_it_came_from_and_a_file_is_not_handed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "overread_database_url").write_text("postgresql://user:secret@db/overread\n")
    (tmp_path / "overread_site").write_text("of the file")
    (tmp_path / "overread_lease_s").write_text("30")
    monkeypatch.setenv("OVERREAD_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("OVERREAD_SITE", "of the environment")

    settings = load_settings(api_port=1234)

    origins = {name: str(settings.origin(name)) for name in ("database_url", "site", "api_port", "lease_s", "hang_s")}
    assert origins == {
        "database_url": "file",
        "site": "environment",
        "api_port": "environment",
        "lease_s": "default",
        "hang_s": "default",
    }
    assert not any("secret" in value for value in settings.environment().values())
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_child_gets_the_same_settings_through_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, api_port=1234, lease_s=0.5, site="north")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    assert load_settings() == settings


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)

    with pytest.raises(ValidationError):
        settings.api_port = 1


@pytest.mark.parametrize(
    "wrong", [{"commit_items": 65, "shard_items": 64}, {"api_port": "many"}, {"lease_s": None}], ids=str
)
def test_settings_are_refused_when_they_cannot_work(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        load_settings(data_dir=tmp_path, **wrong)


def test_environment_is_not_read_at_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVERREAD_SITE", "first")
    assert load_settings(data_dir=tmp_path).site == "first"

    monkeypatch.setenv("OVERREAD_SITE", "second")

    assert load_settings(data_dir=tmp_path).site == "second"


def test_every_setting_has_a_variable_of_its_name(tmp_path: Path) -> None:
    environment = load_settings(data_dir=tmp_path).environment()

    assert set(environment) == {f"OVERREAD_{name.upper()}" for name in Settings.model_fields}
