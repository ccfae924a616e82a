"""turns, tries, tallies and brakes."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_ZERO, _NO, _NOTHING = sa.text("0"), sa.false(), sa.text("'[]'")

_NEW_COLUMNS: dict[str, tuple[tuple[str, Any, Any], ...]] = {
    "item": (
        ("tries", sa.Integer(), _ZERO),
        ("quarantined", sa.Boolean(), _NO),
        ("evidence", _DOCUMENT, None),
        ("fence", sa.Integer(), None),
    ),
    "history": (("fence", sa.Integer(), _ZERO),),
    "worker_process": (("loading", _DOCUMENT, _NOTHING),),
    "token": (("max_open_items", sa.Integer(), None), ("requests_per_minute", sa.Integer(), None)),
    "job": (("token_id", sa.Uuid(), None),),
    "shard": (
        ("principal_id", _BIG, _ZERO),
        ("turn", _BIG, _ZERO),
        ("failure_count", sa.Integer(), _ZERO),
        ("failure", sa.String(length=64), None),
        ("evidence", _DOCUMENT, None),
    ),
}


def upgrade() -> None:
    """Move the schema forward."""
    for table, columns in _NEW_COLUMNS.items():
        _add_columns(table, columns)
    op.execute("UPDATE shard SET turn = id, principal_id = (SELECT principal_id FROM job WHERE job.id = shard.job_id)")
    with op.batch_alter_table("shard", schema=None) as batch_op:
        batch_op.create_foreign_key(op.f("fk_shard_principal_id_principal"), "principal", ["principal_id"], ["id"])
        batch_op.drop_index("ix_shard_claim")
        batch_op.drop_column("hinted_at")
        batch_op.create_index("ix_shard_claim", ["state", "lane", "turn", "id"], unique=False)
        batch_op.create_index("ix_shard_oldest", ["state", "lane", "id"], unique=False)
        batch_op.create_index("ix_shard_principal_id", ["principal_id", "state", "lane", "turn"], unique=False)
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_foreign_key(op.f("fk_job_token_id_token"), "token", ["token_id"], ["id"])
        batch_op.create_index("ix_job_token_id", ["token_id", "state"], unique=False)
        batch_op.create_index("ix_job_retry_of", ["retry_of"], unique=False)
        batch_op.create_index("ix_job_lane", ["lane", "id"], unique=False)
    with op.batch_alter_table("item", schema=None) as batch_op:
        batch_op.drop_index("ix_item_finished_at")
    _create_tables()
    _count_what_is_there()


def _add_columns(table: str, columns: tuple[tuple[str, Any, Any], ...]) -> None:
    """Rows that are there already get the default, which the models then state themselves."""
    with op.batch_alter_table(table, schema=None) as batch_op:
        for name, kind, default in columns:
            batch_op.add_column(sa.Column(name, kind, nullable=default is None, server_default=default))
    with op.batch_alter_table(table, schema=None) as batch_op:
        for name, _, default in columns:
            if default is not None:
                batch_op.alter_column(name, server_default=None)


def _create_tables() -> None:
    op.create_table(
        "lane_brake",
        sa.Column("lane", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("principal_id", _BIG, nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name=op.f("fk_lane_brake_principal_id_principal")),
        sa.PrimaryKeyConstraint("lane", name=op.f("pk_lane_brake")),
    )
    op.create_table(
        "tally",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tally")),
    )
    op.create_index("ix_tally_name", "tally", ["name"])
    op.create_table(
        "pace",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("lane", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pace")),
    )
    op.create_index("ix_pace_lane", "pace", ["lane", "at"])


def _count_what_is_there() -> None:
    op.execute("INSERT INTO tally (name, value) SELECT 'jobs.' || state, count(*) FROM job GROUP BY state")
    op.execute(
        "INSERT INTO tally (name, value) SELECT 'shards.' || lane || '.' || state, count(*) FROM shard "
        "WHERE state IN ('queued', 'running') GROUP BY lane, state"
    )
    op.execute(
        "INSERT INTO tally (name, value) SELECT 'items.' || shard.lane || '.queued', count(*) FROM shard "
        "JOIN item ON item.shard_id = shard.id AND item.state = 'pending' WHERE shard.state = 'queued' "
        "GROUP BY shard.lane"
    )


def downgrade() -> None:
    """Move the schema back."""
    for table in ("pace", "tally", "lane_brake"):
        op.drop_table(table)
    with op.batch_alter_table("item", schema=None) as batch_op:
        batch_op.create_index("ix_item_finished_at", ["finished_at"], unique=False)
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index("ix_job_lane")
        batch_op.drop_index("ix_job_retry_of")
        batch_op.drop_index("ix_job_token_id")
        batch_op.drop_constraint(op.f("fk_job_token_id_token"), type_="foreignkey")
    with op.batch_alter_table("shard", schema=None) as batch_op:
        for name in ("ix_shard_principal_id", "ix_shard_oldest", "ix_shard_claim"):
            batch_op.drop_index(name)
        batch_op.drop_constraint(op.f("fk_shard_principal_id_principal"), type_="foreignkey")
        batch_op.add_column(sa.Column("hinted_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index("ix_shard_claim", ["state", "lane", "id"], unique=False)
    for table, columns in _NEW_COLUMNS.items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name, _, _ in columns:
                batch_op.drop_column(name)
