"""Shapes of settings."""

from pydantic import Field

from api.schemas.base import Shape
from shared.config import Origin


class SettingShown(Shape):
    """A setting as it is in force."""

    name: str = Field(description="The variable OVERREAD_<NAME>, in small letters.")
    value: bool | int | float | str = Field(description="Passwords in URLs are `***`.")
    unit: str | None = Field(description="Of a number that has one: `s`, `bytes` or `a minute`.")
    origin: Origin = Field(
        description="default: as where nobody set it; environment: a variable, or the command line that started the "
        "system; file: one in the folder OVERREAD_SECRETS_DIR."
    )
    description: str


class SettingList(Shape):
    """All settings, in the order of the source."""

    items: list[SettingShown]
