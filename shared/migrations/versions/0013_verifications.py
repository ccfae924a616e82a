"""verifications of reports; audit events are found by action and by principal."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

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
    op.create_index("ix_audit_event_action", "audit_event", ["action", "id"])
    op.create_index("ix_audit_event_principal_id", "audit_event", ["principal_id", "id"])


def downgrade() -> None:
    """Move the schema back."""
    op.drop_index("ix_audit_event_principal_id", "audit_event")
    op.drop_index("ix_audit_event_action", "audit_event")
    op.drop_table("verification")
