"""Bearer tokens of principals, hashed at rest; every route names the scope it needs."""

from apiflask import HTTPTokenAuth
from apiflask.exceptions import HTTPError
from flask import Response, current_app, g, request

from api.errors import problem
from api.services import services
from shared.db import reading
from shared.models import Principal, Token
from shared.repositories.principals import valid_token
from shared.states import Scope

auth = HTTPTokenAuth(scheme="Bearer", description="A token from `overread token create`, or the admin token.")


@auth.verify_token  # type: ignore[untyped-decorator]
def _verify(secret: str) -> Token | None:
    if not secret:
        return None
    with reading(services().engine) as session:
        found = valid_token(session, secret)
    if found is None:
        return None
    own_rate = found.requests_per_minute
    services().rates.check(found.id, services().settings.requests_per_minute if own_rate is None else own_rate)
    g.token = found
    return found


@auth.get_user_roles  # type: ignore[untyped-decorator]
def _scopes(token: Token) -> list[str]:
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
    return scope.value in _scopes(token())
