"""`python -m shared.migrate`: the newest schema, and the first time an admin, whose token is handed over once."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sqlalchemy import Engine

from shared.config import load_settings
from shared.db import make_engine
from shared.repositories.imaging import site_named
from shared.repositories.principals import ADMIN, add_principal, default_project, issue_token, principal_named
from shared.schema import lock_schema, upgrade_schema
from shared.states import Role, Scope
from shared.unit_of_work import UnitOfWork


def prepare_database(engine: Engine, site: str) -> str | None:
    """Bring the database to the newest schema; the admin's token where there was no admin, else None."""
    upgrade_schema(engine)
    with UnitOfWork(engine) as uow:
        lock_schema(uow.session.connection())
        site_named(uow.session, site)
        default_project(uow.session)
        if principal_named(uow.session, ADMIN) is not None:
            return None
        admin = add_principal(uow.session, ADMIN, roles=[Role.ADMIN.value])
        _, secret = issue_token(uow.session, admin, [Scope.ADMIN], name="first token", expires_at=None)
        return secret


@contextmanager
def _private_file(path: Path) -> Iterator[TextIO]:
    """A file for its owner alone; it takes the place of `path` at the end if anything was written to it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as handle:
            yield handle
            is_written = handle.tell() > 0
        if is_written:
            Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def main() -> None:
    """Prepare the configured database and print the token as JSON, or keep it in the configured file."""
    settings = load_settings()
    engine = make_engine(settings)
    token = None
    if settings.admin_token_file:
        # Opened before there is a token: one that could not be kept would be lost.
        with _private_file(Path(settings.admin_token_file)) as file:
            file.write(prepare_database(engine, settings.site) or "")
    else:
        token = prepare_database(engine, settings.site)
    json.dump({"token": token}, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
