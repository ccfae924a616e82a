"""Shapes of logging in, and of who is."""

from datetime import datetime
from uuid import UUID

from pydantic import Field, SecretStr

from api.passwords import MOST_CHARACTERS
from api.schemas.base import PersonName, Shape, Wanted
from shared.states import Role, Scope


class LoginWanted(Wanted):
    """A name with its password, or nothing where the request carries a token."""

    name: PersonName | None = None
    password: SecretStr | None = Field(None, max_length=MOST_CHARACTERS)


class SessionShown(Shape):
    """A browser's session; its secret is shown this once."""

    id: UUID
    secret: str
    principal: str
    expires_at: datetime
    lasts_s: float


class Me(Shape):
    """Whose token the request carries, and what it may do."""

    name: str
    roles: list[Role]
    scopes: list[Scope]
    token: UUID
    expires_at: datetime | None
    csrf: str | None = Field(description="For the header X-CSRF-Token, of a session's cookie; else null.")
