"""Principals and their bearer tokens; a token's secret is shown once and never stored."""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, String, cast, exists, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.clock import utc_now
from shared.identifiers import new_id
from shared.models import Principal, Project, Token
from shared.repositories.history import changed_rows
from shared.states import Role, Scope

TOKEN_PREFIX = "ovr_"  # noqa: S105 - the visible start of every token, not a secret
# The one that every installation begins with.
ADMIN = "admin"
DEFAULT_PROJECT = "default"
# What a token of a browser's session is called.
SESSION = "browser session"
# What who logs in with a password may do, by each of their roles.
SCOPES_OF_ROLE: dict[Role, tuple[Scope, ...]] = {
    Role.SUBMITTER: (Scope.SUBMIT, Scope.READ),
    Role.OPERATOR: (Scope.OPERATE, Scope.SUBMIT, Scope.READ),
    Role.PHYSICIAN: (Scope.REVIEW, Scope.READ),
    Role.ADMIN: (Scope.ADMIN,),
}


class Limits(NamedTuple):
    """What a token may ask for; of None the settings' limits hold."""

    max_open_items: int | None = None
    requests_per_minute: int | None = None


NO_LIMITS = Limits()


def principal_named(session: Session, name: str) -> Principal | None:
    """The principal of this name."""
    return session.scalar(select(Principal).where(Principal.name == name))


def principal_names(session: Session, ids: Collection[int]) -> dict[int, str]:
    """The names of some principals."""
    found = session.execute(select(Principal.id, Principal.name).where(Principal.id.in_(ids)))
    return dict(found.all())


def add_principal(session: Session, name: str, *, kind: str = "user", roles: Sequence[str] = ()) -> Principal:
    """A new principal."""
    principal = Principal(name=name, kind=kind, roles=list(roles), created_at=utc_now())
    session.add(principal)
    session.flush()
    return principal


def list_principals(session: Session, *, before: int | None, limit: int) -> Sequence[Principal]:
    """Principals, the newest first, from before the cursor `before`; also those that are disabled."""
    statement = select(Principal).order_by(Principal.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Principal.id < before)
    return session.scalars(statement).all()


def issue_token(
    session: Session,
    principal: Principal,
    scopes: Sequence[Scope],
    *,
    name: str = "",
    expires_at: datetime | None,
    limits: Limits = NO_LIMITS,
    parent_id: UUID | None = None,
) -> tuple[Token, str]:
    """A new token and its secret, which cannot be had again."""
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = Token(
        id=new_id(),
        principal_id=principal.id,
        name=name,
        prefix=secret[:12],
        sha256=hash_secret(secret),
        scopes=[scope.value for scope in scopes],
        created_at=utc_now(),
        expires_at=expires_at,
        max_open_items=limits.max_open_items,
        requests_per_minute=limits.requests_per_minute,
        parent_id=parent_id,
    )
    session.add(token)
    session.flush()
    return token, secret


def hash_secret(secret: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def valid_token(session: Session, secret: str) -> Token | None:
    """The token of this secret if it is good: itself, the one that began it, and its principal."""
    token = session.scalar(select(Token).where(Token.sha256 == hash_secret(secret)))
    if token is None or not _is_good(token):
        return None
    if token.parent_id is not None and not _is_good(session.get_one(Token, token.parent_id)):
        return None
    return token


def _is_good(token: Token) -> bool:
    """It is neither expired nor revoked, and its principal is not disabled."""
    is_over = token.expires_at is not None and token.expires_at <= utc_now()
    return token.revoked_at is None and token.principal.disabled_at is None and not is_over


def list_tokens(session: Session, *, principal: str | None = None, before: UUID | None, limit: int) -> Sequence[Token]:
    """Tokens, of one name or all, newest first, older than the cursor `before`; also those that are no longer good."""
    statement = select(Token).order_by(Token.id.desc()).limit(limit)
    if principal is not None:
        # Its number, not a join: so they are found by their index.
        named = select(Principal.id).where(Principal.name == principal).scalar_subquery()
        statement = statement.where(Token.principal_id == named)
    if before is not None:
        statement = statement.where(Token.id < before)
    return session.scalars(statement).all()


def revoke_token(session: Session, token_id: UUID) -> bool:
    """End a token for good; False when there is none such, or it was revoked before."""
    statement = update(Token).where(Token.id == token_id, Token.revoked_at.is_(None)).values(revoked_at=utc_now())
    return changed_rows(session.execute(statement)) > 0


def end_sessions(session: Session, principal: Principal, *, but: UUID | None = None) -> None:
    """Those that its password began are over, `but` for one; of those that a token began, that token decides."""
    theirs = (Token.principal_id == principal.id, Token.name == SESSION, Token.parent_id.is_(None), Token.id != but)
    session.execute(update(Token).where(*theirs, Token.revoked_at.is_(None)).values(revoked_at=utc_now()))


def is_anybody_admin(session: Session) -> bool:
    """Whether somebody who is not disabled can come in as admin: by a password, or by a token that is no session's."""
    good = (Token.revoked_at.is_(None), or_(Token.expires_at.is_(None), Token.expires_at > utc_now()))
    has_token = exists().where(
        Token.principal_id == Principal.id, Token.name != SESSION, _lists(Token.scopes, Scope.ADMIN), *good
    )
    has_password = _lists(Principal.roles, Role.ADMIN) & Principal.password_hash.is_not(None)
    found = select(Principal.id).where(Principal.disabled_at.is_(None), or_(has_password, has_token)).limit(1)
    return session.scalar(found) is not None


def _lists(column: InstrumentedAttribute[list[Any]], word: Role | Scope) -> ColumnElement[bool]:
    """Whether a column that holds a list of words, as JSON, has this one."""
    return cast(column, String).contains(f'"{word.value}"')


def default_project(session: Session) -> Project:
    """The project that uploads and jobs belong to unless they name one."""
    project = session.scalar(select(Project).where(Project.name == DEFAULT_PROJECT))
    if project is None:
        project = Project(name=DEFAULT_PROJECT)
        session.add(project)
        session.flush()
    return project
