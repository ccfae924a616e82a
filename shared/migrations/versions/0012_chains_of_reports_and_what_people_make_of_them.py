"""chains of reports, reviews, follow-ups, renditions, notices, audit seals."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.db import UtcDateTime
from shared.reports.digest import content_digest

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_OF_STUDY = {"study_id": 16, "accession_number": 16, "study_description": 64, "timezone_offset": 16}

AT_ONCE = 500


def upgrade() -> None:
    """Move the schema forward."""
    _chain_reports()
    for name, length in _OF_STUDY.items():
        op.add_column("study", sa.Column(name, sa.String(length=length), nullable=False, server_default=sa.text("''")))
    op.add_column("series", sa.Column("laterality", sa.String(length=16), nullable=False, server_default=sa.text("''")))
    op.create_table(
        "webhook",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("secret", sa.String(length=128), nullable=False),
        sa.Column("events", _DOCUMENT, nullable=False),
        sa.Column("principal_id", _BIG, nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name=op.f("fk_webhook_principal_id_principal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
    )
    lives = sa.text("disabled_at IS NULL")
    op.create_index("uq_webhook_name", "webhook", ["name"], unique=True, sqlite_where=lives, postgresql_where=lives)
    op.create_table(
        "audit_seal",
        sa.Column("sequence", _BIG, autoincrement=False, nullable=False),
        sa.Column("event_id", _BIG, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["audit_event.id"], name=op.f("fk_audit_seal_event_id_audit_event")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_seal")),
        sa.UniqueConstraint("event_id", name=op.f("uq_audit_seal_event_id")),
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", _BIG, nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("object_kind", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("body", _DOCUMENT, nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", UtcDateTime(timezone=True), nullable=True),
        sa.Column("not_before", UtcDateTime(timezone=True), nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.String(length=200), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("finished_at", UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhook.id"], name=op.f("fk_notice_webhook_id_webhook")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
        sa.UniqueConstraint("webhook_id", "event", "object_id", name=op.f("uq_notice_webhook_id_event_object_id")),
    )
    op.create_index("ix_notice_due", "notice", ["webhook_id", "state", "not_before"])
    op.create_index("ix_notice_lease", "notice", ["webhook_id", "lease_until"])
    op.create_index("ix_notice_state", "notice", ["state", "id"])
    op.create_table(
        "follow_up",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("patient_id", _BIG, nullable=False),
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("finding", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("urgency", sa.String(length=64), nullable=False),
        sa.Column("text", sa.String(length=200), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("due_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("principal_id", _BIG, nullable=True),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("changed_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_follow_up_patient_id_patient")),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name=op.f("fk_follow_up_principal_id_principal")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_follow_up_report_id_report")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_follow_up")),
    )
    op.create_index("ix_follow_up_patient_id", "follow_up", ["patient_id", "model_name", "finding", "action"])
    op.create_index("ix_follow_up_state", "follow_up", ["state", "urgency", "due_at", "id"])
    stands = sa.text("state IN ('acknowledged', 'open', 'postponed')")
    op.create_index(
        "ix_follow_up_worklist",
        "follow_up",
        ["urgency", "due_at", "id"],
        sqlite_where=stands,
        postgresql_where=stands,
    )
    op.create_index(
        "uq_follow_up_standing",
        "follow_up",
        ["patient_id", "model_name", "finding", "action"],
        unique=True,
        sqlite_where=stands,
        postgresql_where=stands,
    )
    op.create_table(
        "follow_up_move",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("follow_up_id", sa.Uuid(), nullable=False),
        sa.Column("from_state", sa.String(length=64), nullable=True),
        sa.Column("to_state", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("due_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("principal_id", _BIG, nullable=True),
        sa.Column("at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["follow_up_id"], ["follow_up.id"], name=op.f("fk_follow_up_move_follow_up_id_follow_up")
        ),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_follow_up_move_report_id_report")),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name=op.f("fk_follow_up_move_principal_id_principal")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_follow_up_move")),
    )
    op.create_index("ix_follow_up_move_follow_up_id", "follow_up_move", ["follow_up_id", "id"])
    op.create_table(
        "report_rendition",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("format", sa.String(length=64), nullable=False),
        sa.Column("language", sa.String(length=16), nullable=False),
        sa.Column("source_digest", sa.String(length=64), nullable=False),
        sa.Column("blob_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["blob_sha256"], ["blob.sha256"], name=op.f("fk_report_rendition_blob_sha256_blob")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_rendition_report_id_report")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_rendition")),
        sa.UniqueConstraint(
            "report_id",
            "format",
            "language",
            "source_digest",
            name=op.f("uq_report_rendition_report_id_format_language_source_digest"),
        ),
    )
    op.create_table(
        "review",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("made_report_id", sa.Uuid(), nullable=False),
        sa.Column("model_version_id", _BIG, nullable=False),
        sa.Column("principal_id", _BIG, nullable=False),
        sa.Column("is_signed", sa.Boolean(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["made_report_id"], ["report.id"], name=op.f("fk_review_made_report_id_report")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_review_model_version_id_model_version")
        ),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name=op.f("fk_review_principal_id_principal")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_review_report_id_report")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        sa.UniqueConstraint("made_report_id", name=op.f("uq_review_made_report_id")),
    )
    op.create_index("ix_review_principal_id", "review", ["principal_id"])
    op.create_index("ix_review_report_id", "review", ["report_id"])
    op.create_table(
        "review_verdict",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("review_id", sa.Uuid(), nullable=False),
        sa.Column("finding", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=64), nullable=False),
        sa.Column("decision", sa.Boolean(), nullable=True),
        sa.Column("value", sa.Boolean(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["review_id"], ["review.id"], name=op.f("fk_review_verdict_review_id_review")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_verdict")),
        sa.UniqueConstraint("review_id", "finding", name=op.f("uq_review_verdict_review_id_finding")),
    )
    with op.batch_alter_table("label") as batch_op:
        batch_op.add_column(sa.Column("review_id", sa.Uuid(), nullable=True))
        batch_op.create_foreign_key(op.f("fk_label_review_id_review"), "review", ["review_id"], ["id"])
        batch_op.create_index("ix_label_review_id", ["review_id"])
        batch_op.add_column(sa.Column("model_name", sa.String(length=64), nullable=False, server_default=""))
        batch_op.alter_column("model_name", server_default=None)
    _index_standing_labels("source", "model_name")


def _index_standing_labels(*by: str) -> None:
    """Anew: a source has one standing label for each target and finding, and for each of these."""
    stands = sa.text("superseded_at IS NULL")
    columns = ["level", "target_id", "finding", *by]
    op.drop_index("uq_label_standing", "label")
    op.create_index("uq_label_standing", "label", columns, unique=True, sqlite_where=stands, postgresql_where=stands)


def _chain_reports() -> None:
    """Versions by several versions of a model become one chain, in the order in which they were made."""
    with op.batch_alter_table("report") as batch_op:
        batch_op.add_column(sa.Column("model_name", sa.String(length=64), nullable=True))
        batch_op.add_column(
            sa.Column("origin", sa.String(length=64), nullable=False, server_default="results"),
        )
        batch_op.add_column(sa.Column("content_digest", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("signs", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("principal_id", _BIG, nullable=True))
        batch_op.drop_constraint(op.f("uq_report_patient_id_model_version_id_number"), type_="unique")
    op.execute(
        "UPDATE report SET model_name = (SELECT name FROM model_version WHERE model_version.id = model_version_id)"
    )
    op.execute(
        "UPDATE report SET number = chain.place, supersedes = chain.before FROM "
        "(SELECT id, row_number() OVER in_order AS place, lag(id) OVER in_order AS before FROM report "
        "WINDOW in_order AS (PARTITION BY patient_id, model_name ORDER BY created_at, id)) AS chain "
        "WHERE chain.id = report.id"
    )
    _digest_documents(op.get_bind())
    with op.batch_alter_table("report") as batch_op:
        batch_op.alter_column("model_name", existing_type=sa.String(length=64), nullable=False)
        batch_op.alter_column("origin", existing_type=sa.String(length=64), server_default=None)
        batch_op.alter_column("content_digest", existing_type=sa.String(length=64), nullable=False)
        batch_op.create_unique_constraint(
            op.f("uq_report_patient_id_model_name_number"), ["patient_id", "model_name", "number"]
        )
        batch_op.create_foreign_key(op.f("fk_report_principal_id_principal"), "principal", ["principal_id"], ["id"])
        batch_op.create_foreign_key(op.f("fk_report_signs_report"), "report", ["signs"], ["id"])


def _digest_documents(connection: sa.Connection) -> None:
    """A few at a time: documents can be long."""
    report = sa.table(
        "report", sa.column("id", sa.Uuid()), sa.column("document", _DOCUMENT), sa.column("content_digest", sa.String())
    )
    undone = sa.select(report.c.id, report.c.document).where(report.c.content_digest.is_(None)).limit(AT_ONCE)
    settle = sa.update(report).where(report.c.id == sa.bindparam("of")).values(content_digest=sa.bindparam("digest"))
    while rows := connection.execute(undone).all():
        connection.execute(settle, [{"of": row.id, "digest": content_digest(row.document)} for row in rows])


def downgrade() -> None:
    """Move the schema back; reports keep their numbers in the chain, which are unique for each version too."""
    # What reviews said goes with them; of two models' reviews both can stand.
    op.execute("DELETE FROM label WHERE review_id IS NOT NULL")
    _index_standing_labels("source")
    with op.batch_alter_table("label") as batch_op:
        batch_op.drop_column("model_name")
        batch_op.drop_index("ix_label_review_id")
        batch_op.drop_constraint(op.f("fk_label_review_id_review"), type_="foreignkey")
        batch_op.drop_column("review_id")
    for table in (
        "review_verdict",
        "review",
        "report_rendition",
        "follow_up_move",
        "follow_up",
        "notice",
        "audit_seal",
        "webhook",
    ):
        op.drop_table(table)
    op.drop_column("series", "laterality")
    for name in _OF_STUDY:
        op.drop_column("study", name)
    with op.batch_alter_table("report") as batch_op:
        batch_op.drop_constraint(op.f("fk_report_principal_id_principal"), type_="foreignkey")
        batch_op.drop_constraint(op.f("fk_report_signs_report"), type_="foreignkey")
        batch_op.drop_constraint(op.f("uq_report_patient_id_model_name_number"), type_="unique")
        for column in ("model_name", "origin", "content_digest", "signs", "principal_id"):
            batch_op.drop_column(column)
        batch_op.create_unique_constraint(
            op.f("uq_report_patient_id_model_version_id_number"), ["patient_id", "model_version_id", "number"]
        )
