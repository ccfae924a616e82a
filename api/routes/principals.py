"""Principals, the named users and services, with their roles."""

from typing import Any

from apiflask import APIBlueprint

from api.auth import auth
from api.paging import integer_cursor, page_of
from api.schemas.base import Page
from api.schemas.operations import PrincipalList, PrincipalShown
from api.services import services
from shared.db import reading
from shared.repositories.principals import list_principals
from shared.states import Scope

blueprint = APIBlueprint("principals", __name__, url_prefix="/api/v1/principals", tag="Principals")


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.input(Page, location="query")
@blueprint.output(PrincipalList)
@blueprint.doc(summary="List principals")
def get_principals(query_data: Page) -> Any:
    """Who tokens are for, the newest first; a token that is made may set its principal's roles."""
    with reading(services().engine) as session:
        found = list_principals(session, before=integer_cursor(query_data.cursor), limit=query_data.limit + 1)
        return page_of(found, query_data.limit, PrincipalShown.model_validate, lambda one: str(one.id))
