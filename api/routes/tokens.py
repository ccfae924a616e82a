"""Tokens of principals: made, listed, revoked."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from apiflask import APIBlueprint

from api.admins import give_roles, keep_an_admin, make_principal
from api.auth import auth, principal, token
from api.paging import page_of, uuid_cursor
from api.schemas.principals import TokenList, TokenListed, TokenQuery, TokenShown, TokenWanted
from api.services import services
from shared.clock import utc_now
from shared.db import reading
from shared.errors import ConflictError, NotFoundError
from shared.models import Token
from shared.repositories.audit import add_audit_event
from shared.repositories.principals import (
    Limits,
    issue_token,
    list_tokens,
    principal_named,
    revoke_token,
)
from shared.states import Scope

blueprint = APIBlueprint("tokens", __name__, url_prefix="/api/v1/tokens", tag="Tokens")


@blueprint.post("")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.input(TokenWanted)
@blueprint.output(TokenShown, status_code=201)
@blueprint.doc(summary="Create a token")
def post_token(json_data: TokenWanted) -> Any:
    """A token for a principal, made where there is none of that name; its secret is shown this once."""
    expires_at = utc_now() + timedelta(days=json_data.expires_days) if json_data.expires_days else None
    limits = Limits(json_data.max_open_items, json_data.requests_per_minute)
    with services().unit_of_work() as uow:
        owner = principal_named(uow.session, json_data.principal) or make_principal(uow.session, json_data.principal)
        if json_data.roles is not None:
            give_roles(uow.session, owner, json_data.roles)
        scopes = list(dict.fromkeys(json_data.scopes))
        made, secret = issue_token(
            uow.session, owner, scopes, name=json_data.name, expires_at=expires_at, limits=limits
        )
        names = [scope.value for scope in scopes]
        add_audit_event(uow.session, principal().id, "token.create", "token", made.id, scopes=names, **limits._asdict())
        return TokenShown(**_listed(made).model_dump(), token=secret)


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.input(TokenQuery, location="query")
@blueprint.output(TokenList)
@blueprint.doc(summary="List tokens")
def get_tokens(query_data: TokenQuery) -> Any:
    """Tokens, newest first, without their secrets; also those that expired or were revoked."""
    with reading(services().engine) as session:
        before, limit = uuid_cursor(query_data.cursor), query_data.limit + 1
        found = list_tokens(session, principal=query_data.principal, before=before, limit=limit)
        return page_of(found, query_data.limit, _listed, lambda one: str(one.id))


@blueprint.delete("/<uuid:token_id>")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.output({}, status_code=204)
@blueprint.doc(summary="Revoke a token", responses={409: "It is the token of this request, or nobody would be admin"})
def delete_token(token_id: UUID) -> Any:
    """End a token for good, from the next request on; its jobs go on."""
    if token_id == token().id:
        raise ConflictError("This is the token of this very request; revoke it with another, so that one is left.")
    with services().unit_of_work() as uow:
        if not revoke_token(uow.session, token_id):
            raise NotFoundError("There is no such token, or it was revoked before.")
        add_audit_event(uow.session, principal().id, "token.revoke", "token", token_id)
        keep_an_admin(uow.session)
    return ""


def _listed(one: Token) -> TokenListed:
    fields = {name: getattr(one, name) for name in TokenListed.model_fields if name != "principal"}
    return TokenListed(**fields, principal=one.principal.name)
