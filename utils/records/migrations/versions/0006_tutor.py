"""Conversations with the tutor.

Revision: 0006
Follows: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "tutor_conversations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_tutor_conversations_user_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tutor_conversations")),
        sa.UniqueConstraint("public_id", name=op.f("uq_tutor_conversations_public_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tutor_conversations_user_id_id", "tutor_conversations", ["user_id", "id"])
    op.create_table(
        "tutor_turns",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("conversation_id", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("question", sa.String(length=500), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("request_key", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["tutor_conversations.id"],
            name=op.f("fk_tutor_turns_conversation_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tutor_turns")),
        sa.UniqueConstraint("request_key", name=op.f("uq_tutor_turns_request_key")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tutor_turns_conversation_id_id", "tutor_turns", ["conversation_id", "id"])
    # For the confirmed cells of a class, which stand beside its topic.
    op.create_index("ix_cells_reviewed_code_reviewed_at", "cells", ["reviewed_code", "reviewed_at"])


def downgrade() -> None:
    raise RuntimeError("Conversations are deleted by their owners; restore a backup instead.")
