"""Bearer tokens of principals, hashed at rest; every route names the scope it needs.

A browser carries its token in a cookie that no script can read. A page of anybody could make a browser send it, so what
changes something also takes a word that only our own pages know.
"""

import hashlib
import hmac

from apiflask import HTTPTokenAuth
from apiflask.exceptions import HTTPError
from flask import Response, current_app, g, request
from werkzeug.datastructures import Authorization

from api.errors import problem
from api.services import services
from shared.db import reading
from shared.errors import ScopeError
from shared.models import Principal, Token
from shared.repositories.principals import valid_token
from shared.states import Scope

COOKIE = "overread_session"
CSRF_HEADER = "X-CSRF-Token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Of a WSGI environment, which no client writes this name into: a page's, and of all that it asks.
KNOWN_TOKENS = "overread.known_tokens"


class _TokenAuth(HTTPTokenAuth):
    """Where no header carries a token, a session's cookie does."""

    def get_auth(self) -> Authorization | None:
        """What the request carries; raises ScopeError where a change by cookie comes without our pages' word."""
        sent: Authorization | None = super().get_auth()
        secret = request.cookies.get(COOKIE, "")
        if sent is not None or not secret:
            return sent
        if request.method not in SAFE and not is_csrf(secret, request.headers.get(CSRF_HEADER, "")):
            raise ScopeError(f"A change by a session's cookie takes the header {CSRF_HEADER} with what the page gave.")
        return Authorization("bearer", token=secret)


auth = _TokenAuth(scheme="Bearer", description="A token from `overread token create`, or the admin token.")


@auth.verify_token  # type: ignore[untyped-decorator]
def _verify(secret: str) -> Token | None:
    found = _found(secret) if secret else None
    if found is None:
        return None
    check_rate(found)
    g.token = found
    return found


def _found(secret: str) -> Token | None:
    """The good token of this secret. A page asks many times on behalf of one request: what it only reads is read as who
    was good at its first question; each change looks again.
    """
    known: dict[str, Token] = request.environ.get(KNOWN_TOKENS, {}) if request.method in SAFE else {}
    if secret not in known:
        with reading(services().engine) as session:
            found = valid_token(session, secret)
        if found is None:
            return None
        known[secret] = found
    return known[secret]


def check_rate(token: Token) -> None:
    """Count a request to the token; raises TooManyRequestsError where it sent too many lately."""
    own = token.requests_per_minute
    services().rates.check(token.counts_as, services().settings.requests_per_minute if own is None else own)


def csrf_of(secret: str) -> str:
    """What our pages give back with every change; nobody else can make it who does not know the session's secret."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def is_csrf(secret: str, given: str) -> bool:
    """Whether it is the session's."""
    return hmac.compare_digest(csrf_of(secret).encode(), given.encode())


@auth.get_user_roles  # type: ignore[untyped-decorator]
def scopes_of(token: Token) -> list[str]:
    """What it may do."""
    if Scope.ADMIN in token.scopes:
        return [scope.value for scope in Scope]
    return [str(scope) for scope in token.scopes]


@auth.error_processor
def _refused(error: HTTPError) -> Response:
    if error.status_code == 403:  # noqa: PLR2004 - the status itself is the case
        return problem(403, f"The token lacks the scope {_wanted()}; ask an admin for a token that has it.")
    return problem(401, "A valid bearer token is needed: send `Authorization: Bearer <token>`.")


def _wanted() -> str:
    """The scope that the route names, where the framework keeps it for the documentation."""
    (scope,) = current_app.view_functions[str(request.endpoint)]._spec["roles"]  # type: ignore[union-attr]
    return str(scope)


def token() -> Token:
    """The one that the request carries."""
    found: Token = g.token
    return found


def principal() -> Principal:
    """Whose token the request carries."""
    return token().principal


def may(scope: Scope) -> bool:
    """True when the token has the scope."""
    return scope.value in scopes_of(token())


def check_own(principal_id: int, what: str) -> None:
    """Raise ScopeError where somebody else's job or upload is to be changed and the token may not operate."""
    if own_only() not in (None, principal_id):
        raise ScopeError(
            f"The {what} is somebody else's: the scope {Scope.SUBMIT} is for one's own {what}s, all others take the "
            f"scope {Scope.OPERATE}."
        )


def own_only(*, mine: bool = False) -> int | None:
    """Whose jobs a request is about: the principal's own where it says so or the token may not operate; None: all."""
    return principal().id if mine or not may(Scope.OPERATE) else None
