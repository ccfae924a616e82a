"""training."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.db import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Move the schema forward."""
    op.add_column("patient_split", sa.Column("is_holdout", sa.Boolean(), nullable=True))
    op.execute("UPDATE patient_split SET is_holdout = (coalesce(split, '') = 'holdout')")
    with op.batch_alter_table("patient_split") as batch_op:
        batch_op.alter_column("is_holdout", existing_type=sa.Boolean(), nullable=False)
        batch_op.create_unique_constraint(op.f("uq_patient_split_patient_id_is_holdout"), ["patient_id", "is_holdout"])
        batch_op.create_check_constraint(
            op.f("ck_patient_split_holdout"), "(coalesce(split, '') = 'holdout') = is_holdout"
        )
    op.create_table(
        "dataset",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("blob_sha256", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("counts", _DOCUMENT, nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.ForeignKeyConstraint(["blob_sha256"], ["blob.sha256"], name=op.f("fk_dataset_blob_sha256_blob")),
        sa.UniqueConstraint("blob_sha256", name=op.f("uq_dataset_blob_sha256")),
    )
    op.create_table(
        "dataset_patient",
        sa.Column("dataset_id", _BIG, nullable=False),
        sa.Column("patient_id", _BIG, nullable=False),
        sa.Column("is_holdout", sa.Boolean(), nullable=False),
        sa.Column("split", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "patient_id", name=op.f("pk_dataset_patient")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_dataset_patient_dataset_id_dataset")),
        sa.ForeignKeyConstraint(
            ["patient_id", "is_holdout"],
            ["patient_split.patient_id", "patient_split.is_holdout"],
            name="fk_dataset_patient_patient_split",
        ),
        sa.CheckConstraint("(split = 'holdout') = is_holdout", name="ck_dataset_patient_holdout"),
    )
    op.create_table(
        "training_run",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("options", _DOCUMENT, nullable=False),
        sa.Column("dataset_id", _BIG, nullable=True),
        sa.Column("progress", _DOCUMENT, nullable=False),
        sa.Column("checkpoint_sha256", sa.String(length=64), nullable=True),
        sa.Column("model_version_id", _BIG, nullable=True),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_training_run")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_training_run_job_id_job")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_training_run_dataset_id_dataset")),
        sa.ForeignKeyConstraint(
            ["checkpoint_sha256"], ["blob.sha256"], name=op.f("fk_training_run_checkpoint_sha256_blob")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_training_run_model_version_id_model_version")
        ),
    )


def downgrade() -> None:
    """Move the schema back."""
    op.drop_table("training_run")
    op.drop_table("dataset_patient")
    op.drop_table("dataset")
    with op.batch_alter_table("patient_split") as batch_op:
        batch_op.drop_constraint(op.f("ck_patient_split_holdout"), type_="check")
        batch_op.drop_constraint(op.f("uq_patient_split_patient_id_is_holdout"), type_="unique")
        batch_op.drop_column("is_holdout")
