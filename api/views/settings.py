"""Settings as an admin sees them: no password is shown."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from api.schemas.settings import SettingShown
from shared.config import Settings

HIDDEN = "***"
# Units end the names.
UNITS = {"_s": "s", "_bytes": "bytes", "_per_minute": "a minute"}
# Of parameters behind the `?` of a URL, those that may hold a secret.
SECRETS = ("pass", "secret", "token", "key")


def settings_shown(settings: Settings) -> Iterator[SettingShown]:
    """All of them."""
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Path):
            value = str(value)
        elif name.endswith("_url"):
            value = without_secrets(value)
        yield SettingShown(
            name=name,
            value=value,
            unit=next((unit for ending, unit in UNITS.items() if name.endswith(ending)), None),
            origin=settings.origin(name),
            description=field.description or "",
        )


def without_secrets(url: str) -> str:
    """The URL with `***` for its password; of what is none as SQLAlchemy reads it, nothing is shown."""
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return HIDDEN
    hidden = {name: "hidden" for name in parts.query if any(word in name.lower() for word in SECRETS)}
    return parts.update_query_dict(hidden).render_as_string(hide_password=True)
