"""Trainings of generators, and what was sampled from them.

Revision: 0007
Follows: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "synthetic_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("source", sa.String(length=120), nullable=False),
        sa.Column("codes", sa.JSON(), nullable=False),
        sa.Column("preset", sa.String(length=32), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("train_job_id", sa.Integer(), nullable=True),
        sa.Column("evaluate_job_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_synthetic_runs_owner_id")
        ),
        sa.ForeignKeyConstraint(
            ["train_job_id"], ["jobs.id"], name=op.f("fk_synthetic_runs_train_job_id")
        ),
        sa.ForeignKeyConstraint(
            ["evaluate_job_id"], ["jobs.id"], name=op.f("fk_synthetic_runs_evaluate_job_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_synthetic_runs")),
        sa.UniqueConstraint("public_id", name=op.f("uq_synthetic_runs_public_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "synthetic_samples",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["synthetic_runs.id"], name=op.f("fk_synthetic_samples_run_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_synthetic_samples_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_synthetic_samples")),
        sa.UniqueConstraint("public_id", name=op.f("uq_synthetic_samples_public_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_synthetic_samples_run_id_id", "synthetic_samples", ["run_id", "id"])


def downgrade() -> None:
    raise RuntimeError("Runs are deleted by administrators; restore a backup instead.")
