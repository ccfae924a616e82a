"""the audit trail by time: each filter has an index in the order of the list."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLE = "audit_event"
OBJECT = ["object_kind", "object_id"]
PLACE = ["at", "id"]
BEFORE = {"object": OBJECT, "action": ["action", "id"], "principal_id": ["principal_id", "id"]}
AFTER = {
    "object": OBJECT + PLACE,
    "at": PLACE,
    "action": ["action", *PLACE],
    "principal_id": ["principal_id", *PLACE],
    "object_kind": ["object_kind", *PLACE],
}


def upgrade() -> None:
    """Move the schema forward."""
    _replace(BEFORE, AFTER)


def downgrade() -> None:
    """Move the schema back."""
    _replace(AFTER, BEFORE)


def _replace(old: dict[str, list[str]], new: dict[str, list[str]]) -> None:
    for name in old:
        op.drop_index(f"ix_audit_event_{name}", table_name=TABLE)
    for name, columns in new.items():
        op.create_index(f"ix_audit_event_{name}", TABLE, columns)
