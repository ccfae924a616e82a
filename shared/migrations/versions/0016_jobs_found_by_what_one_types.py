"""jobs found by what one types: the label without capitals, byte by byte; and an index of a model's jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_FOLDED = sa.String(length=128).with_variant(sa.String(length=128, collation="C"), "postgresql")


def upgrade() -> None:
    """Move the schema forward."""
    with op.batch_alter_table("job") as batch_op:
        batch_op.add_column(sa.Column("label_folded", _FOLDED, server_default=sa.text("''"), nullable=False))
        batch_op.drop_index("ix_job_label")
    op.execute("UPDATE job SET label_folded = lower(label) WHERE label <> ''")
    _fold_other_scripts()
    with op.batch_alter_table("job") as batch_op:
        batch_op.create_index("ix_job_label_folded", ["label_folded", "id", "state"], unique=False)
        batch_op.create_index("ix_job_model_version_id", ["model_version_id", "id"], unique=False)


def _fold_other_scripts() -> None:
    """As the product folds them: databases know other capitals than Python, SQLite none but English ones."""
    bind = op.get_bind()
    for label in bind.scalars(sa.text("SELECT DISTINCT label FROM job WHERE label <> ''")).all():
        if not label.isascii():
            values = {"label": label, "folded": label.casefold()}
            bind.execute(sa.text("UPDATE job SET label_folded = :folded WHERE label = :label"), values)


def downgrade() -> None:
    """Move the schema back."""
    with op.batch_alter_table("job") as batch_op:
        batch_op.drop_index("ix_job_model_version_id")
        batch_op.drop_index("ix_job_label_folded")
        batch_op.drop_column("label_folded")
        batch_op.create_index("ix_job_label", ["label", "id"], unique=False)
