"""How large a pixel of a field is, and by what.

Revision: 0005
Follows: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("analyses", sa.Column("um_per_px", sa.Double(), nullable=True))
    # Spelled out: SQLite adds a column with its check in place, and only so. Anything else would
    # write the table anew, to which nearly all others refer.
    op.execute(
        "ALTER TABLE analyses ADD COLUMN um_per_px_source VARCHAR(16) DEFAULT '' NOT NULL "
        f"CONSTRAINT {op.f('ck_analyses_um_per_px_source_known')} "
        "CHECK (um_per_px_source IN ('', 'metadata', 'user', 'red_cells'))"
    )
    op.add_column("analyses", sa.Column("um_per_px_spread", sa.Double(), nullable=True))
    op.add_column("analyses", sa.Column("um_per_px_cells", sa.Integer(), nullable=True))


def downgrade() -> None:
    raise RuntimeError("What people said of a field is never removed; restore a backup instead.")
