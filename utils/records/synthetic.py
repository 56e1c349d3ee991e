"""Trainings of generators of synthetic fields, and what was sampled from them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.database import Record, UtcDateTime, new_public_id, utc_now
from utils.records.jobs import Job
from utils.records.users import User


class SyntheticRun(Record):
    """One training of a generator. Its files lie in a folder of the run's public id.

    Where it stands is what its job's row says; `train_job` is the newest of its trainings: one
    that was paused goes on in a new job.
    """

    __tablename__ = "synthetic_runs"
    # A number is never given twice: what was deleted must not come back as another's.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(sa.String(32), unique=True, default=new_public_id)
    owner_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    source: Mapped[str] = mapped_column(sa.String(120))
    codes: Mapped[list[str]] = mapped_column(sa.JSON)
    preset: Mapped[str] = mapped_column(sa.String(32))
    epochs: Mapped[int]
    seed: Mapped[int]
    train_job_id: Mapped[int | None] = mapped_column(sa.ForeignKey("jobs.id"))
    evaluate_job_id: Mapped[int | None] = mapped_column(sa.ForeignKey("jobs.id"))

    owner: Mapped[User] = relationship()
    train_job: Mapped[Job | None] = relationship(foreign_keys=[train_job_id])
    evaluate_job: Mapped[Job | None] = relationship(foreign_keys=[evaluate_job_id])
    samples: Mapped[list[SyntheticSample]] = relationship(
        back_populates="run", order_by="SyntheticSample.id", cascade="all, delete-orphan"
    )


class SyntheticSample(Record):
    """Pictures of one class drawn from a generator, into a folder of the run's."""

    __tablename__ = "synthetic_samples"
    __table_args__ = (
        sa.Index("ix_synthetic_samples_run_id_id", "run_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(sa.String(32), unique=True, default=new_public_id)
    run_id: Mapped[int] = mapped_column(sa.ForeignKey("synthetic_runs.id"))
    code: Mapped[str] = mapped_column(sa.String(32))
    count: Mapped[int]
    seed: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    job_id: Mapped[int | None] = mapped_column(sa.ForeignKey("jobs.id"))

    run: Mapped[SyntheticRun] = relationship(back_populates="samples")
    job: Mapped[Job | None] = relationship()
