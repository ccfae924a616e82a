"""`python -m shared.migrate`: the newest schema, and the first time an admin, whose token is printed once."""

import json
import sys

from sqlalchemy import Engine

from shared.config import load_settings
from shared.db import make_engine
from shared.repositories.imaging import site_named
from shared.repositories.principals import add_principal, default_project, issue_token, principal_named
from shared.schema import upgrade_schema
from shared.states import Scope
from shared.unit_of_work import UnitOfWork

ADMIN = "admin"


def prepare_database(engine: Engine, site: str) -> str | None:
    """Bring the database to the newest schema; the admin's token where there was no admin, else None."""
    upgrade_schema(engine)
    with UnitOfWork(engine) as uow:
        site_named(uow.session, site)
        default_project(uow.session)
        if principal_named(uow.session, ADMIN) is not None:
            return None
        admin = add_principal(uow.session, ADMIN, roles=["admin"])
        _, secret = issue_token(uow.session, admin, [Scope.ADMIN], name="first token", expires_at=None)
        return secret


def main() -> None:
    """Prepare the configured database and print the token as JSON."""
    settings = load_settings()
    token = prepare_database(make_engine(settings), settings.site)
    json.dump({"token": token}, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
