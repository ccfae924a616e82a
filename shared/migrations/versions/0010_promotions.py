"""promotions."""

import sqlalchemy as sa
from alembic import op

from shared.db import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Move the schema forward; what serves now has served since it was registered, as far as is known."""
    op.create_table(
        "promotion",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("model_version_id", _BIG, nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("before_id", _BIG, nullable=True),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("principal_id", _BIG, nullable=True),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_promotion_model_version_id_model_version")
        ),
        sa.ForeignKeyConstraint(["before_id"], ["promotion.id"], name=op.f("fk_promotion_before_id_promotion")),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name=op.f("fk_promotion_principal_id_principal")),
    )
    op.create_index("ix_promotion_model_version_id", "promotion", ["model_version_id"])
    op.execute(
        "INSERT INTO promotion (model_version_id, kind, reason, principal_id, created_at) "
        "SELECT id, 'first', '', principal_id, created_at FROM model_version WHERE state = 'champion' ORDER BY id"
    )


def downgrade() -> None:
    """Move the schema back."""
    op.drop_table("promotion")
