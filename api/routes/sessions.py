"""Logging in and out with a browser, and who the request's token belongs to."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from apiflask import APIBlueprint
from flask import request
from sqlalchemy.orm import Session

from api.auth import COOKIE, auth, check_rate, csrf_of, principal, scopes_of, token
from api.passwords import is_password
from api.schemas.sessions import LoginWanted, Me, SessionShown
from api.services import services
from shared.clock import utc_now
from shared.db import reading
from shared.errors import AuthenticationError, InvalidRequestError
from shared.models import Principal, Token
from shared.repositories.audit import add_audit_event
from shared.repositories.principals import (
    NO_LIMITS,
    SCOPES_OF_ROLE,
    SESSION,
    Limits,
    issue_token,
    principal_named,
    revoke_token,
    valid_token,
)
from shared.states import Role, Scope

blueprint = APIBlueprint("sessions", __name__, url_prefix="/api/v1", tag="Sessions")

NOT_KNOWN = "There is no such name with this password."
# Tries are counted by name, whether there is such a principal or not.
_TRIES = UUID("6f1c0a0e-52a4-4f0e-9a57-1b1d0a5f8d11")


@blueprint.post("/sessions")
@blueprint.input(LoginWanted)
@blueprint.output(SessionShown, status_code=201)
@blueprint.doc(summary="Log in", responses={401: "Neither a good token nor a name with its password"})
def post_session(json_data: LoginWanted) -> Any:
    """A short token for a browser's cookie, by a token in `Authorization` or by name and password.

    It may do what the token may, or what the principal's roles say, and ends with the token that began it.
    """
    sent = request.authorization
    if sent is not None and sent.type == "bearer":
        return _begun_by_token(sent.token or "")
    if json_data.name is None or json_data.password is None:
        raise InvalidRequestError("Send a name and its password, or a token: `Authorization: Bearer <token>`.")
    return _begun_by_password(json_data.name, json_data.password.get_secret_value())


def _begun_by_token(secret: str) -> SessionShown:
    with reading(services().engine) as session:
        parent = valid_token(session, secret)
    if parent is None:
        raise AuthenticationError("The token is not known, expired or revoked.")
    if parent.name == SESSION:
        # One that another session began would go on after the end of what began that one.
        raise InvalidRequestError("A session begins no other; send a token, or a name and its password.")
    check_rate(parent)
    until = utc_now() + timedelta(seconds=services().settings.session_s)
    until = min(until, parent.expires_at) if parent.expires_at else until
    with services().unit_of_work() as uow:
        return _begin(uow.session, parent.principal, [Scope(one) for one in parent.scopes], until, parent)


def _begun_by_password(name: str, password: str) -> SessionShown:
    services().rates.check(uuid5(_TRIES, name), services().settings.logins_per_minute)
    with reading(services().engine) as session:
        found = principal_named(session, name)
    # Always looked at, so that a name that is not there takes as long.
    is_right = is_password(found.password_hash if found else None, password)
    if found is None or not is_right or found.disabled_at is not None:
        raise AuthenticationError(NOT_KNOWN)
    scopes = list(dict.fromkeys(scope for role in found.roles for scope in SCOPES_OF_ROLE[Role(role)]))
    until = utc_now() + timedelta(seconds=services().settings.session_s)
    with services().unit_of_work() as uow:
        return _begin(uow.session, found, scopes, until)


def _begin(
    session: Session, owner: Principal, scopes: list[Scope], until: datetime, parent: Token | None = None
) -> SessionShown:
    limits = Limits(parent.max_open_items, parent.requests_per_minute) if parent else NO_LIMITS
    parent_id = parent.id if parent else None
    made, secret = issue_token(
        session, owner, scopes, name=SESSION, expires_at=until, parent_id=parent_id, limits=limits
    )
    add_audit_event(session, owner.id, "session.begin", "token", made.id)
    lasts_s = (until - made.created_at).total_seconds()
    return SessionShown(id=made.id, secret=secret, principal=owner.name, expires_at=until, lasts_s=lasts_s)


@blueprint.delete("/sessions/current")
@blueprint.auth_required(auth)
@blueprint.output({}, status_code=204)
@blueprint.doc(summary="Log out")
def delete_session() -> Any:
    """End the session that the request carries; other tokens are revoked at /tokens."""
    if token().name != SESSION:
        raise InvalidRequestError("This is no browser's session; revoke a token with DELETE /api/v1/tokens/{id}.")
    with services().unit_of_work() as uow:
        revoke_token(uow.session, token().id)
        add_audit_event(uow.session, principal().id, "session.end", "token", token().id)
    return ""


@blueprint.get("/me")
@blueprint.auth_required(auth)
@blueprint.output(Me)
@blueprint.doc(summary="See who you are")
def get_me() -> Any:
    """The principal of the request's token, its roles, and what the token may do."""
    return Me(
        name=principal().name,
        roles=principal().roles,
        scopes=scopes_of(token()),
        token=token().id,
        expires_at=token().expires_at,
        csrf=None if request.authorization else csrf_of(request.cookies[COOKIE]),
    )
