"""slices."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
# The default stays: SQLite could take it away only by making anew a table that others refer to.
_NUMBER: dict[str, Any] = {"type_": sa.Integer(), "nullable": False, "server_default": sa.text("0")}


def upgrade() -> None:
    """Move the schema forward; of instances that are there already, nobody knows where they lie."""
    op.add_column("instance", sa.Column("instance_number", **_NUMBER))
    op.add_column("instance", sa.Column("planes", _DOCUMENT, nullable=True))
    op.add_column("job", sa.Column("items_skipped", **_NUMBER))


def downgrade() -> None:
    """Move the schema back."""
    op.drop_column("job", "items_skipped")
    op.drop_column("instance", "planes")
    op.drop_column("instance", "instance_number")
