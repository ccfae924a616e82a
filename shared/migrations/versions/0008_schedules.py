"""schedules."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.db import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Move the schema forward."""
    op.create_table(
        "schedule",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("cron", sa.String(length=200), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("overlap", sa.String(length=64), nullable=False),
        sa.Column("catch_up_s", sa.Integer(), nullable=False),
        sa.Column("jitter_s", sa.Integer(), nullable=False),
        sa.Column("min_new", sa.Integer(), nullable=False),
        sa.Column("request", _DOCUMENT, nullable=False),
        sa.Column("principal_id", _BIG, nullable=False),
        sa.Column("fires_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("due_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("paused_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("pause_reason", sa.String(length=300), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("removed_at", UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule")),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name=op.f("fk_schedule_principal_id_principal")),
    )
    lives = sa.text("removed_at IS NULL")
    op.create_index("uq_schedule_name", "schedule", ["name"], unique=True, sqlite_where=lives, postgresql_where=lives)
    op.create_index("ix_schedule_due_at", "schedule", ["due_at"])
    op.create_table(
        "schedule_run",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("fires_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("decided_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule_run")),
        sa.ForeignKeyConstraint(["schedule_id"], ["schedule.id"], name=op.f("fk_schedule_run_schedule_id_schedule")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_schedule_run_job_id_job")),
        sa.UniqueConstraint(
            "schedule_id", "fires_at", "origin", name=op.f("uq_schedule_run_schedule_id_fires_at_origin")
        ),
    )
    op.create_index("ix_schedule_run_schedule_id", "schedule_run", ["schedule_id", "id"])
    op.create_index("ix_schedule_run_state", "schedule_run", ["state"])


def downgrade() -> None:
    """Move the schema back."""
    op.drop_table("schedule_run")
    op.drop_table("schedule")
