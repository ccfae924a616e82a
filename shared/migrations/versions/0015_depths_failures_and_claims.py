"""how deep the lanes are, failed items in the order in which they failed, and since when a shard is claimed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.db import UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_IS_FAILED = sa.text("state = 'failed'")


def upgrade() -> None:
    """Move the schema forward."""
    op.create_table(
        "depth",
        sa.Column("at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("queued", _DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("at", name=op.f("pk_depth")),
    )
    op.create_index(
        "ix_item_failed",
        "item",
        ["finished_at", "reason", "job_id"],
        sqlite_where=_IS_FAILED,
        postgresql_where=_IS_FAILED,
    )
    op.add_column("shard", sa.Column("claimed_at", UtcDateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Move the schema back."""
    op.drop_column("shard", "claimed_at")
    op.drop_index("ix_item_failed", "item")
    op.drop_table("depth")
