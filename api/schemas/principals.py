"""Shapes of principals, what they log in with, and their tokens."""

from datetime import datetime
from uuid import UUID

from pydantic import Field, SecretStr

from api.passwords import LEAST_CHARACTERS, MOST_CHARACTERS
from api.schemas.base import Page, PersonName, Shape, Wanted
from shared.states import Role, Scope

MOST = 2**31 - 1  # what a column of the database holds


class PrincipalWanted(Wanted):
    """A person or service that is new."""

    name: PersonName = Field(description="Letters and digits of any script, inner spaces, and . _ @ - '")
    roles: tuple[Role, ...] = ()


class PrincipalChange(Wanted):
    """What is to be otherwise; what is left out or null stays as it is."""

    roles: list[Role] | None = Field(
        None, description="In place of those it has. Sessions that its password began are over; tokens stay as made."
    )
    disabled: bool | None = Field(None, description="While it is, it cannot log in and its tokens are no good.")


class PasswordWanted(Wanted):
    """A principal's new password."""

    password: SecretStr = Field(min_length=LEAST_CHARACTERS, max_length=MOST_CHARACTERS)


class PrincipalShown(Shape):
    """A named user or service."""

    name: str
    roles: list[Role]
    has_password: bool = Field(description="Whether it can log in with one.")
    created_at: datetime
    disabled_at: datetime | None


class PrincipalList(Shape):
    """A page of principals, the newest first."""

    items: list[PrincipalShown]
    next: str | None


class TokenQuery(Page):
    """Whose tokens."""

    principal: str | None = Field(None, max_length=64, description="Of this name only.")


class TokenWanted(Wanted):
    """A token for a principal, who is made where there is none of that name."""

    principal: PersonName = Field(description="Letters and digits of any script, inner spaces, and . _ @ - '")
    name: str = Field("", max_length=64)
    scopes: list[Scope] = Field(min_length=1)
    roles: list[Role] | None = Field(
        None, description="Of the principal, in place of those it has; null: as they are. A physician signs reports."
    )
    expires_days: float | None = Field(None, gt=0, le=3650)
    max_open_items: int | None = Field(None, ge=1, le=MOST, description="Most instances open at once; null: as set.")
    requests_per_minute: int | None = Field(None, ge=1, le=MOST, description="Most requests; null: as set.")


class TokenListed(Shape):
    """A token without its secret; limits of null are those of the settings."""

    id: UUID
    principal: str
    name: str
    prefix: str = Field(description="The first characters of the secret, to know it by.")
    scopes: list[Scope]
    max_open_items: int | None
    requests_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenList(Shape):
    """A page of tokens, newest first."""

    items: list[TokenListed]
    next: str | None


class TokenShown(TokenListed):
    """The secret is shown this once."""

    token: str
