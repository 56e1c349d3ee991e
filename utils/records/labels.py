"""Label events: what people said about an analysis, one after the other."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.analyses import Analysis
from utils.records.database import Record, UtcDateTime, append_only, utc_now
from utils.records.users import User

LABEL_ACTIONS: Final = ("confirm", "correct", "undo")


@append_only
class LabelEvent(Record):
    """One confirmation, correction or undoing. Never changed and never removed."""

    __tablename__ = "label_events"
    __table_args__ = (
        sa.CheckConstraint(sa.column("action").in_(LABEL_ACTIONS), name="action_known"),
        sa.Index("ix_label_events_analysis_id_id", "analysis_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(sa.ForeignKey("analyses.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    action: Mapped[str] = mapped_column(sa.String(16))
    old_code: Mapped[str | None] = mapped_column(sa.String(32))
    new_code: Mapped[str | None] = mapped_column(sa.String(32))
    reason: Mapped[str] = mapped_column(sa.String(1000), default="")

    analysis: Mapped[Analysis] = relationship(back_populates="label_events")
    user: Mapped[User] = relationship()
