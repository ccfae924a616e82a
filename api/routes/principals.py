"""Principals, the named users and services: their roles, their passwords, and whether they are let in."""

from typing import Any

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from api.admins import give_roles, keep_an_admin, make_principal
from api.auth import auth, principal, token
from api.paging import integer_cursor, page_of
from api.passwords import hash_password
from api.schemas.base import Page
from api.schemas.principals import PasswordWanted, PrincipalChange, PrincipalList, PrincipalShown, PrincipalWanted
from api.services import services
from shared.clock import utc_now
from shared.db import reading
from shared.errors import ConflictError, NotFoundError
from shared.models import Principal
from shared.repositories.audit import add_audit_event
from shared.repositories.principals import end_sessions, list_principals, principal_named
from shared.states import Scope

blueprint = APIBlueprint("principals", __name__, url_prefix="/api/v1/principals", tag="Principals")


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.input(Page, location="query")
@blueprint.output(PrincipalList)
@blueprint.doc(summary="List principals")
def get_principals(query_data: Page) -> Any:
    """Who there is, the newest first."""
    with reading(services().engine) as session:
        found = list_principals(session, before=integer_cursor(query_data.cursor), limit=query_data.limit + 1)
        return page_of(found, query_data.limit, _shown, lambda one: str(one.id))


@blueprint.post("")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.input(PrincipalWanted)
@blueprint.output(PrincipalShown, status_code=201)
@blueprint.doc(summary="Add a principal", responses={409: "There is one of this name"})
def post_principal(json_data: PrincipalWanted) -> Any:
    """A person or service of this name; a password or tokens let it in."""
    with services().unit_of_work() as uow:
        if principal_named(uow.session, json_data.name) is not None:
            raise ConflictError("There is a principal of this name already; PATCH changes it.")
        made = make_principal(uow.session, json_data.name)
        give_roles(uow.session, made, json_data.roles)
        return _shown(made)


@blueprint.get("/<string:name>")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.output(PrincipalShown)
@blueprint.doc(summary="See a principal")
def get_principal(name: str) -> Any:
    """Its roles, and whether it is let in."""
    with reading(services().engine) as session:
        return _shown(_find(session, name))


@blueprint.patch("/<string:name>")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.input(PrincipalChange)
@blueprint.output(PrincipalShown)
@blueprint.doc(summary="Change a principal", responses={409: "Nobody would be admin"})
def patch_principal(name: str, json_data: PrincipalChange) -> Any:
    """Give and take roles, disable and enable; from the next request on."""
    with services().unit_of_work() as uow:
        found = _find(uow.session, name)
        if json_data.roles is not None:
            give_roles(uow.session, found, json_data.roles)
        if json_data.disabled is not None:
            _let_in(uow.session, found, is_disabled=json_data.disabled)
        return _shown(found)


@blueprint.put("/<string:name>/password")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.input(PasswordWanted)
@blueprint.output({}, status_code=204)
@blueprint.doc(summary="Set a principal's password")
def put_password(name: str, json_data: PasswordWanted) -> Any:
    """The password that the principal logs in with from now on; sessions that the last one began are over."""
    hashed = hash_password(json_data.password.get_secret_value())
    with services().unit_of_work() as uow:
        found = _find(uow.session, name)
        found.password_hash = hashed
        end_sessions(uow.session, found, but=token().id)
        add_audit_event(uow.session, principal().id, "principal.password", "principal", found.id)
    return ""


def _let_in(session: Session, found: Principal, *, is_disabled: bool) -> None:
    if is_disabled == (found.disabled_at is not None):
        return
    found.disabled_at = utc_now() if is_disabled else None
    end_sessions(session, found)
    act = "principal.disable" if is_disabled else "principal.enable"
    add_audit_event(session, principal().id, act, "principal", found.id)
    keep_an_admin(session)


def _find(session: Session, name: str) -> Principal:
    found = principal_named(session, name)
    if found is None:
        raise NotFoundError("There is no such principal; POST /api/v1/principals adds one.")
    return found


def _shown(one: Principal) -> PrincipalShown:
    return PrincipalShown(
        name=one.name,
        roles=one.roles,
        has_password=one.password_hash is not None,
        created_at=one.created_at,
        disabled_at=one.disabled_at,
    )
