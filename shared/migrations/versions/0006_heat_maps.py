"""heat maps."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = (("prediction", "explained", "none"), ("job", "explain", "positives"))
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Move the schema forward: what was predicted before has no map, what was asked for before gets them."""
    for table, column, value in COLUMNS:
        op.add_column(table, sa.Column(column, sa.String(length=64), nullable=False, server_default=value))
    op.create_table(
        "heat_map",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("prediction_id", _BIG, nullable=False),
        sa.Column("finding", sa.Integer(), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("no_map", sa.String(length=64), nullable=True),
        sa.Column("blob_sha256", sa.String(length=64), nullable=True),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("columns", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_heat_map")),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["prediction.id"], name=op.f("fk_heat_map_prediction_id_prediction")
        ),
        sa.ForeignKeyConstraint(["blob_sha256"], ["blob.sha256"], name=op.f("fk_heat_map_blob_sha256_blob")),
        sa.UniqueConstraint("prediction_id", "finding", name=op.f("uq_heat_map_prediction_id_finding")),
    )
    op.create_index("ix_heat_map_blob_sha256", "heat_map", ["blob_sha256"])


def downgrade() -> None:
    """Move the schema back."""
    op.drop_table("heat_map")
    for table, column, _ in COLUMNS:
        op.drop_column(table, column)  # in place: others refer to these tables, which must not be made anew
