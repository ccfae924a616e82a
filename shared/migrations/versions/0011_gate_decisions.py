"""gate decisions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.db import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Move the schema forward."""
    op.create_table(
        "gate_decision",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("model_version_id", _BIG, nullable=False),
        sa.Column("champion_id", _BIG, nullable=False),
        sa.Column("dataset_id", _BIG, nullable=False),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.Column("reasons", _DOCUMENT, nullable=False),
        sa.Column("is_measured", sa.Boolean(), nullable=False),
        sa.Column("record", _DOCUMENT, nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_decision")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_gate_decision_job_id_job")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_gate_decision_model_version_id_model_version")
        ),
        sa.ForeignKeyConstraint(
            ["champion_id"], ["model_version.id"], name=op.f("fk_gate_decision_champion_id_model_version")
        ),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_gate_decision_dataset_id_dataset")),
        sa.UniqueConstraint("job_id", name=op.f("uq_gate_decision_job_id")),
    )
    op.create_index("ix_gate_decision_model_version_id", "gate_decision", ["model_version_id"])
    with op.batch_alter_table("promotion") as batch_op:
        batch_op.add_column(sa.Column("gate_decision_id", _BIG, nullable=True))
        batch_op.create_foreign_key(
            op.f("fk_promotion_gate_decision_id_gate_decision"), "gate_decision", ["gate_decision_id"], ["id"]
        )


def downgrade() -> None:
    """Move the schema back."""
    with op.batch_alter_table("promotion") as batch_op:
        batch_op.drop_constraint(op.f("fk_promotion_gate_decision_id_gate_decision"), type_="foreignkey")
        batch_op.drop_column("gate_decision_id")
    op.drop_table("gate_decision")
