"""Shapes of settings."""

from pydantic import Field

from api.schemas.base import Shape


class SettingShown(Shape):
    """A setting as it is in force."""

    name: str = Field(description="The variable OVERREAD_<NAME>, in small letters.")
    value: bool | int | float | str = Field(description="Passwords in URLs are `***`.")
    is_default: bool = Field(description="Whether it is as where nobody set it.")
    description: str


class SettingList(Shape):
    """All settings, in the order of the source."""

    items: list[SettingShown]
