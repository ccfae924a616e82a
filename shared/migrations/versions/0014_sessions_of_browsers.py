"""sessions of browsers: tokens that another token began, and passwords of principals."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move the schema forward."""
    with op.batch_alter_table("principal") as batch_op:
        batch_op.add_column(sa.Column("password_hash", sa.String(length=255), nullable=True))
    with op.batch_alter_table("token") as batch_op:
        batch_op.add_column(sa.Column("parent_id", sa.Uuid(), nullable=True))
        batch_op.create_foreign_key(op.f("fk_token_parent_id_token"), "token", ["parent_id"], ["id"])


def downgrade() -> None:
    """Move the schema back."""
    with op.batch_alter_table("token") as batch_op:
        batch_op.drop_constraint(op.f("fk_token_parent_id_token"), type_="foreignkey")
        batch_op.drop_column("parent_id")
    with op.batch_alter_table("principal") as batch_op:
        batch_op.drop_column("password_hash")
