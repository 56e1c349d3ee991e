"""The first records: people, cases, analyses, label events, reports, the audit trail.

Revision: 0001
Follows: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
APPEND_ONLY = ("audit_entries", "label_events", "report_versions")


def upgrade() -> None:
    _audit_head()
    _users()
    _audit_entries()
    _cases()
    _sign_ins()
    _analyses()
    _label_events()
    _report_versions()
    _protect_append_only()


def downgrade() -> None:
    raise RuntimeError("The first records are never removed; restore a backup instead.")


def _audit_head() -> None:
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.bulk_insert(head, [{"id": 1, "count": 0, "hash": "0" * 64}])


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("session_epoch", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "role IN ('administrator', 'pathologist', 'technician', 'trainee')",
            name=op.f("ck_users_role_known"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'active', 'disabled')", name=op.f("ck_users_state_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
        sa.UniqueConstraint("public_id", name=op.f("uq_users_public_id")),
    )


def _audit_entries() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor_id", sa.Integer(), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object_type", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["users.id"], name=op.f("fk_audit_entries_actor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_actor_id_id", "audit_entries", ["actor_id", "id"])
    op.create_index(
        "ix_audit_entries_object_type_object_id", "audit_entries", ["object_type", "object_id"]
    )


def _cases() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("accession", sa.String(length=64), nullable=False),
        sa.Column("patient_reference", sa.String(length=120), nullable=False),
        sa.Column("site", sa.String(length=120), nullable=False),
        sa.Column("specimen_date", sa.Date(), nullable=True),
        sa.Column("indication", sa.String(length=1000), nullable=False),
        sa.Column("specimen_quality", sa.String(length=1000), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "state IN ('draft', 'preliminary', 'signed', 'amended')",
            name=op.f("ck_cases_state_known"),
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_cases_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.UniqueConstraint("public_id", name=op.f("uq_cases_public_id")),
    )
    op.create_index("ix_cases_accession", "cases", ["accession"])
    op.create_index("ix_cases_owner_id_created_at_id", "cases", ["owner_id", "created_at", "id"])


def _sign_ins() -> None:
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sign_ins_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ins")),
        sa.UniqueConstraint("public_id", name=op.f("uq_sign_ins_public_id")),
    )
    op.create_index("ix_sign_ins_user_id_started_at", "sign_ins", ["user_id", "started_at"])


def _analyses() -> None:
    op.create_table(
        "analyses",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("upload_key", sa.String(length=100), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("original_sha256", sa.String(length=64), nullable=False),
        sa.Column("original_media_type", sa.String(length=64), nullable=False),
        sa.Column("clahe_sha256", sa.String(length=64), nullable=False),
        sa.Column("boundaries_sha256", sa.String(length=64), nullable=False),
        sa.Column("thumbnail_sha256", sa.String(length=64), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("decode_notes", sa.JSON(), nullable=False),
        sa.Column("network_name", sa.String(length=64), nullable=False),
        sa.Column("network_version", sa.String(length=64), nullable=False),
        sa.Column("network_sha256", sa.String(length=64), nullable=False),
        sa.Column("logits", sa.JSON(), nullable=False),
        sa.Column("probabilities", sa.JSON(), nullable=False),
        sa.Column("cams", sa.JSON(), nullable=False),
        sa.Column("label_code", sa.String(length=32), nullable=True),
        sa.Column("top_code", sa.String(length=32), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("abstained", sa.Boolean(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("ood_distance", sa.Double(), nullable=False),
        sa.Column("heat_on_cells", sa.Double(), nullable=True),
        sa.Column("nuclei_count", sa.Integer(), nullable=False),
        sa.Column("nuclei", sa.JSON(), nullable=False),
        sa.Column("quality", sa.JSON(), nullable=False),
        sa.Column("timings_ms", sa.JSON(), nullable=False),
        sa.Column("program_version", sa.String(length=32), nullable=False),
        sa.Column("reviewed_code", sa.String(length=32), nullable=True),
        sa.Column("reviewed_by_id", sa.Integer(), nullable=True),
        sa.Column("reviewed_at", MOMENT, nullable=True),
        sa.Column("review_state", sa.String(length=16), nullable=False),
        sa.CheckConstraint(
            "review_state IN ('unreviewed', 'confirmed', 'corrected')",
            name=op.f("ck_analyses_review_state_known"),
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_analyses_case_id")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_analyses_owner_id")),
        sa.ForeignKeyConstraint(
            ["reviewed_by_id"], ["users.id"], name=op.f("fk_analyses_reviewed_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analyses")),
        sa.UniqueConstraint("case_id", "number", name=op.f("uq_analyses_case_id_number")),
        sa.UniqueConstraint("owner_id", "upload_key", name=op.f("uq_analyses_owner_id_upload_key")),
        sa.UniqueConstraint("public_id", name=op.f("uq_analyses_public_id")),
    )
    _analysis_indexes()


def _analysis_indexes() -> None:
    op.create_index("ix_analyses_created_at_id", "analyses", ["created_at", "id"])
    op.create_index(
        "ix_analyses_label_code_created_at_id", "analyses", ["label_code", "created_at", "id"]
    )
    op.create_index(
        "ix_analyses_owner_id_created_at_id", "analyses", ["owner_id", "created_at", "id"]
    )
    op.create_index("ix_analyses_probability_id", "analyses", ["probability", "id"])
    op.create_index(
        "ix_analyses_owner_id_original_sha256", "analyses", ["owner_id", "original_sha256"]
    )
    op.create_index(
        "ix_analyses_review_state_created_at_id", "analyses", ["review_state", "created_at", "id"]
    )
    op.create_index(
        "ix_analyses_reviewed_by_id_created_at_id",
        "analyses",
        ["reviewed_by_id", "created_at", "id"],
    )


def _label_events() -> None:
    op.create_table(
        "label_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("old_code", sa.String(length=32), nullable=True),
        sa.Column("new_code", sa.String(length=32), nullable=True),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.CheckConstraint(
            "action IN ('confirm', 'correct', 'undo')", name=op.f("ck_label_events_action_known")
        ),
        sa.ForeignKeyConstraint(
            ["analysis_id"], ["analyses.id"], name=op.f("fk_label_events_analysis_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_label_events_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_events")),
    )
    op.create_index("ix_label_events_analysis_id_id", "label_events", ["analysis_id", "id"])


def _report_versions() -> None:
    op.create_table(
        "report_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("pdf_sha256", sa.String(length=64), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by_id", sa.Integer(), nullable=False),
        sa.Column("replaces_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["analysis_id"], ["analyses.id"], name=op.f("fk_report_versions_analysis_id")
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_report_versions_case_id")),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["users.id"], name=op.f("fk_report_versions_created_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["replaces_id"], ["report_versions.id"], name=op.f("fk_report_versions_replaces_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_versions")),
        sa.UniqueConstraint(
            "analysis_id", "number", name=op.f("uq_report_versions_analysis_id_number")
        ),
        sa.UniqueConstraint("public_id", name=op.f("uq_report_versions_public_id")),
        sa.UniqueConstraint("replaces_id", name=op.f("uq_report_versions_replaces_id")),
    )
    op.create_index(
        "ix_report_versions_case_id_created_at", "report_versions", ["case_id", "created_at"]
    )


def _protect_append_only() -> None:
    """What is written once is refused any change by the database itself."""
    if op.get_bind().dialect.name == "sqlite":
        for table in APPEND_ONLY:
            for verb in ("update", "delete"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
