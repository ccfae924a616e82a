"""labels."""

import sqlalchemy as sa
from alembic import op

from shared.db import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Move the schema forward."""
    op.create_table(
        "label",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("level", sa.String(length=64), nullable=False),
        sa.Column("target_id", _BIG, nullable=False),
        sa.Column("patient_id", _BIG, nullable=False),
        sa.Column("finding", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("principal_id", _BIG, nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_label_patient_id_patient")),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name=op.f("fk_label_principal_id_principal")),
    )
    stands = sa.text("superseded_at IS NULL")
    op.create_index(
        "uq_label_standing",
        "label",
        ["level", "target_id", "finding", "source"],
        unique=True,
        sqlite_where=stands,
        postgresql_where=stands,
    )
    op.create_index("ix_label_patient_id", "label", ["patient_id"])
    op.create_table(
        "patient_split",
        sa.Column("patient_id", _BIG, nullable=False),
        sa.Column("split", sa.String(length=64), nullable=True),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("patient_id", name=op.f("pk_patient_split")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_patient_split_patient_id_patient")),
    )


def downgrade() -> None:
    """Move the schema back."""
    op.drop_table("patient_split")
    op.drop_table("label")
