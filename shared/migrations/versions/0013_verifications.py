"""verifications of reports; environments of predictions; audit events are found by action and by principal."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.db import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Move the schema forward."""
    op.create_table(
        "verification",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("sample", sa.Integer(), nullable=True),
        sa.Column("checks", _DOCUMENT, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_verification_job_id_job")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_verification_report_id_report")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_verification")),
    )
    op.create_index("ix_verification_report_id", "verification", ["report_id", "job_id"])
    op.create_table(
        "environment",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("document", _DOCUMENT, nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environment")),
        sa.UniqueConstraint("digest", name=op.f("uq_environment_digest")),
    )
    # In words of its own: a batch operation would write all predictions anew on SQLite.
    kind = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(
        f"ALTER TABLE prediction ADD COLUMN environment_id {kind} "
        "CONSTRAINT fk_prediction_environment_id_environment REFERENCES environment (id)"
    )
    op.create_index("ix_audit_event_action", "audit_event", ["action", "id"])
    op.create_index("ix_audit_event_principal_id", "audit_event", ["principal_id", "id"])


def downgrade() -> None:
    """Move the schema back."""
    op.drop_index("ix_audit_event_principal_id", "audit_event")
    op.drop_index("ix_audit_event_action", "audit_event")
    with op.batch_alter_table("prediction") as batch_op:
        batch_op.drop_column("environment_id")
    op.drop_table("environment")
    op.drop_table("verification")
