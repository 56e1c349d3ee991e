"""Counts by hand: each press of a key, as it was made."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from utils.records.database import Record, UtcDateTime, append_only, utc_now


@append_only
class HandCount(Record):
    """One cell counted by eye at the microscope, or one taken back. Never changed nor removed.

    `label_set` names the network whose classes were counted by; `step` is 1, or -1 where a cell
    is taken back.
    """

    __tablename__ = "hand_counts"
    __table_args__ = (
        sa.CheckConstraint("step IN (-1, 1)", name="step_known"),
        sa.Index("ix_hand_counts_case_id_id", "case_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(sa.ForeignKey("cases.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    label_set: Mapped[str] = mapped_column(sa.String(64))
    code: Mapped[str] = mapped_column(sa.String(32))
    step: Mapped[int]
    # Chosen by the page that sends it: sent twice, it counts once.
    request_key: Mapped[str] = mapped_column(sa.String(64), unique=True)
