"""What people asked the tutor, and what it said. Nobody's but the person's own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.database import Record, UtcDateTime, new_public_id, utc_now

MOST_QUESTION_CHARACTERS = 500


class TutorConversation(Record):
    """One conversation of one person; unlike what is said of patients, it can be deleted."""

    __tablename__ = "tutor_conversations"
    # A number is never given twice: what was deleted must not come back as somebody else's.
    __table_args__ = (
        sa.Index("ix_tutor_conversations_user_id_id", "user_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(sa.String(32), unique=True, default=new_public_id)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    turns: Mapped[list[TutorTurn]] = relationship(
        back_populates="conversation", order_by="TutorTurn.id", cascade="all, delete-orphan"
    )


class TutorTurn(Record):
    """A question and its answer.

    `answer` holds ``kind``, ``paragraphs`` (pairs of a text and the numbers it cites), ``cited``
    and ``near`` (names of passages and topics), ``writer`` and ``note``.
    """

    __tablename__ = "tutor_turns"
    __table_args__ = (
        sa.Index("ix_tutor_turns_conversation_id_id", "conversation_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(sa.ForeignKey("tutor_conversations.id"))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    question: Mapped[str] = mapped_column(sa.String(MOST_QUESTION_CHARACTERS))
    answer: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    # Chosen by the page that sends it: sent twice, it is asked once.
    request_key: Mapped[str] = mapped_column(sa.String(64), unique=True)

    conversation: Mapped[TutorConversation] = relationship(back_populates="turns")
