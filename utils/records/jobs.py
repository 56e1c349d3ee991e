"""Jobs: work that is done later, by a worker. The row is the truth; the queue only wakes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.analyses import Analysis
from utils.records.database import Record, UtcDateTime, new_public_id, utc_now
from utils.records.users import User

JOB_STATES: Final = ("queued", "running", "done", "failed", "cancelled")
LONGEST_MESSAGE: Final = 500


class Job(Record):
    """One piece of work, from being asked for to its end.

    `parameters` hold identifiers and numbers, no names and no patient data. `dedupe_key` says
    which work it is: asked for twice, it is queued once. A job that failed or was cancelled gives
    its key back, so that the work can be asked for again.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        sa.CheckConstraint(sa.column("state").in_(JOB_STATES), name="state_known"),
        sa.Index("ix_jobs_state_id", "state", "id"),  # the oldest one that waits
        sa.Index("ix_jobs_analysis_id_id", "analysis_id", "id"),
        sa.Index("ix_jobs_owner_id_id", "owner_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(sa.String(32), unique=True, default=new_public_id)
    kind: Mapped[str] = mapped_column(sa.String(64))
    state: Mapped[str] = mapped_column(sa.String(16), default="queued")
    parameters: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    dedupe_key: Mapped[str | None] = mapped_column(sa.String(200), unique=True)

    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    message: Mapped[str] = mapped_column(sa.String(LONGEST_MESSAGE), default="")
    error_code: Mapped[str | None] = mapped_column(sa.String(64))

    attempts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(sa.String(128))
    heartbeat_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    analysis_id: Mapped[int | None] = mapped_column(sa.ForeignKey("analyses.id"))

    owner: Mapped[User | None] = relationship()
    analysis: Mapped[Analysis | None] = relationship()
