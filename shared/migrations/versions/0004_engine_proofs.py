"""engine proofs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import shared.db

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Move the schema forward."""
    op.add_column("prediction", sa.Column("batch_size", sa.Integer(), nullable=True))
    op.create_table(
        "engine_proof",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("hardware_digest", sa.String(length=64), nullable=False),
        sa.Column("hardware", sa.String(length=300), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.String(length=500), nullable=False),
        sa.Column("worker", sa.String(length=128), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("lease_until", shared.db.UtcDateTime(timezone=True), nullable=True),
        sa.Column("num_inputs", sa.Integer(), nullable=False),
        sa.Column("num_drawn", sa.Integer(), nullable=False),
        sa.Column("engines", _DOCUMENT, nullable=False),
        sa.Column("created_at", shared.db.UtcDateTime(timezone=True), nullable=False),
        sa.Column("finished_at", shared.db.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_engine_proof")),
        sa.UniqueConstraint(
            "model_digest", "hardware_digest", name=op.f("uq_engine_proof_model_digest_hardware_digest")
        ),
    )


def downgrade() -> None:
    """Move the schema back."""
    op.drop_table("engine_proof")
    with op.batch_alter_table("prediction", schema=None) as batch_op:
        batch_op.drop_column("batch_size")
