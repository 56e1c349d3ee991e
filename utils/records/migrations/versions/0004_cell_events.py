"""What people do to cells, and counts by hand.

Revision: 0004
Follows: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
APPEND_ONLY = ("cell_events", "hand_counts")
ACTIONS = "'confirm', 'correct', 'split', 'merge', 'remove', 'add', 'find_again', 'undo', 'redo'"


def upgrade() -> None:
    _cells()
    _cell_events()
    _hand_counts()
    _protect_append_only()


def downgrade() -> None:
    raise RuntimeError("What people said of cells is never removed; restore a backup instead.")


def _cells() -> None:
    with op.batch_alter_table("cells") as cells:
        cells.add_column(
            sa.Column("origin", sa.String(length=16), nullable=False, server_default="found")
        )
        cells.add_column(
            sa.Column("present", sa.Boolean(), nullable=False, server_default=sa.true())
        )
        cells.add_column(
            sa.Column(
                "review_state", sa.String(length=16), nullable=False, server_default="unreviewed"
            )
        )
        cells.add_column(sa.Column("reviewed_code", sa.String(length=32), nullable=True))
        cells.add_column(sa.Column("reviewed_by_id", sa.Integer(), nullable=True))
        cells.add_column(sa.Column("reviewed_at", MOMENT, nullable=True))
        cells.create_check_constraint(
            op.f("ck_cells_origin_known"), "origin IN ('found', 'person')"
        )
        cells.create_foreign_key(
            op.f("fk_cells_reviewed_by_id"), "users", ["reviewed_by_id"], ["id"]
        )


def _cell_events() -> None:
    op.create_table(
        "cell_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("request_key", sa.String(length=64), nullable=False),
        sa.CheckConstraint(f"action IN ({ACTIONS})", name=op.f("ck_cell_events_action_known")),
        sa.ForeignKeyConstraint(
            ["analysis_id"], ["analyses.id"], name=op.f("fk_cell_events_analysis_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_cell_events_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cell_events")),
        sa.UniqueConstraint("request_key", name=op.f("uq_cell_events_request_key")),
    )
    op.create_index("ix_cell_events_analysis_id_id", "cell_events", ["analysis_id", "id"])


def _hand_counts() -> None:
    op.create_table(
        "hand_counts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("label_set", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("request_key", sa.String(length=64), nullable=False),
        sa.CheckConstraint("step IN (-1, 1)", name=op.f("ck_hand_counts_step_known")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_hand_counts_case_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_hand_counts_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hand_counts")),
        sa.UniqueConstraint("request_key", name=op.f("uq_hand_counts_request_key")),
    )
    op.create_index("ix_hand_counts_case_id_id", "hand_counts", ["case_id", "id"])


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
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
