"""What an admin changes about who may do what: it is on record, and somebody stays admin."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.auth import principal
from shared.db import AdvisoryLock, take_lock
from shared.errors import ConflictError, InvalidRequestError
from shared.models import Principal
from shared.repositories.audit import add_audit_event
from shared.repositories.principals import ADMIN, add_principal, end_sessions, is_anybody_admin
from shared.states import Role

NOBODY_LEFT = (
    "Nobody could do an admin's work any more. First give somebody else a token with the scope admin, "
    "or the role admin and a password."
)


def keep_an_admin(session: Session) -> None:
    """After a change that may take away the last admin; raises ConflictError, which undoes it."""
    # One change at a time is looked at, or two admins could take each other's rights away.
    take_lock(session.connection(), AdvisoryLock.ADMINS)
    session.flush()
    if not is_anybody_admin(session):
        raise ConflictError(NOBODY_LEFT)


def make_principal(session: Session, name: str) -> Principal:
    """A new one, without roles."""
    made = add_principal(session, name)
    add_audit_event(session, principal().id, "principal.create", "principal", made.id)
    return made


def give_roles(session: Session, owner: Principal, roles: Sequence[Role]) -> None:
    """These in place of those it has; raises InvalidRequestError where nobody's name would sign, and ConflictError."""
    if owner.name == ADMIN and Role.PHYSICIAN in roles:
        raise InvalidRequestError(
            f"The first admin, {ADMIN}, is nobody's name, so it signs nothing; give the role to a person's principal."
        )
    before, after = list(owner.roles), [role.value for role in dict.fromkeys(roles)]
    if before == after:
        return
    owner.roles = after
    # A session has the scopes of the roles that it began with.
    end_sessions(session, owner)
    add_audit_event(session, principal().id, "principal.roles", "principal", owner.id, before=before, after=after)
    keep_an_admin(session)
