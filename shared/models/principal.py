"""Who acts: principals, their tokens; and where and for what: sites, projects."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.models.base import Base, RowId, Sha256


class Principal(Base):
    """A named user or service; owns tokens, uploads and jobs."""

    __tablename__ = "principal"

    id: Mapped[RowId]
    name: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(16), default="user")
    roles: Mapped[list[Any]] = mapped_column(default=list)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class Token(Base):
    """A bearer token: only its SHA-256 is kept (256 random bits need no slow hash); limits of None: the settings'.

    A browser's session is a token too, in a cookie; where another token began it, it ends with that `parent`.
    """

    __tablename__ = "token"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    principal_id: Mapped[int] = mapped_column(ForeignKey("principal.id"), index=True)
    name: Mapped[str] = mapped_column(String(64), default="")
    prefix: Mapped[str] = mapped_column(String(16))
    sha256: Mapped[Sha256] = mapped_column(unique=True)
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    max_open_items: Mapped[int | None]
    requests_per_minute: Mapped[int | None]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("token.id"))

    principal: Mapped[Principal] = relationship(lazy="joined", innerjoin=True)

    @property
    def counts_as(self) -> UUID:
        """The token whose limits its requests and jobs count to: a session's parent, so that sessions add nothing."""
        return self.parent_id or self.id


class Site(Base):
    """Where studies come from; the issuer of patient identifiers that files do not name."""

    __tablename__ = "site"

    id: Mapped[RowId]
    name: Mapped[str] = mapped_column(String(64), unique=True)


class Project(Base):
    """What uploads and jobs belong to, for access and counting."""

    __tablename__ = "project"

    id: Mapped[RowId]
    name: Mapped[str] = mapped_column(String(64), unique=True)
