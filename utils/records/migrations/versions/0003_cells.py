"""Cells: each nucleated cell of a field.

Revision: 0003
Follows: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cells",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("row_px", sa.Double(), nullable=False),
        sa.Column("col_px", sa.Double(), nullable=False),
        sa.Column("diameter_px", sa.Double(), nullable=False),
        sa.Column("box", sa.JSON(), nullable=False),
        sa.Column("outline", sa.JSON(), nullable=False),
        sa.Column("nucleus", sa.JSON(), nullable=False),
        sa.Column("touches_border", sa.Boolean(), nullable=False),
        sa.Column("measures", sa.JSON(), nullable=False),
        sa.Column("field_evidence", sa.JSON(), nullable=False),
        sa.Column("network_name", sa.String(length=64), nullable=True),
        sa.Column("network_version", sa.String(length=64), nullable=True),
        sa.Column("network_sha256", sa.String(length=64), nullable=True),
        sa.Column("logits", sa.JSON(), nullable=False),
        sa.Column("probabilities", sa.JSON(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=True),
        sa.Column("top_code", sa.String(length=32), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("ood_distance", sa.Double(), nullable=True),
        sa.Column("crop", sa.LargeBinary(), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["analysis_id"], ["analyses.id"], name=op.f("fk_cells_analysis_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cells")),
        sa.UniqueConstraint("analysis_id", "number", name=op.f("uq_cells_analysis_id_number")),
        sa.UniqueConstraint("public_id", name=op.f("uq_cells_public_id")),
    )


def downgrade() -> None:
    op.drop_table("cells")
