"""Environments that predictions were computed in: each is one row, whoever finds it first."""

import hashlib
import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.models import Environment, table_of


def environment_id(session: Session, document: dict[str, Any]) -> int:
    """The row of this environment, made where there is none."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    row = {"digest": digest, "document": document, "created_at": utc_now()}
    session.execute(insert(table_of(Environment)).values(row).on_conflict_do_nothing(index_elements=["digest"]))
    return session.scalars(select(Environment.id).where(Environment.digest == digest)).one()


def environments(session: Session, ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """What these rows say."""
    if not ids:
        return {}
    rows = session.execute(select(Environment.id, Environment.document).where(Environment.id.in_(ids)))
    return {row.id: row.document for row in rows}
