"""Tokens of principals."""

from datetime import timedelta
from typing import Any

from apiflask import APIBlueprint

from api.auth import auth, principal
from api.schemas.operations import TokenShown, TokenWanted
from api.services import services
from shared.clock import utc_now
from shared.repositories.audit import add_audit_event
from shared.repositories.principals import add_principal, issue_token, principal_named
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
    with services().unit_of_work() as uow:
        owner = principal_named(uow.session, json_data.principal) or add_principal(uow.session, json_data.principal)
        scopes = list(dict.fromkeys(json_data.scopes))
        token, secret = issue_token(uow.session, owner, scopes, name=json_data.name, expires_at=expires_at)
        names = [scope.value for scope in scopes]
        add_audit_event(uow.session, principal().id, "token.create", "token", token.id, scopes=names)
    return {"id": token.id, "principal": owner.name, "scopes": scopes, "expires_at": expires_at, "token": secret}
