"""Cases: one specimen of one patient."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.database import Record, UtcDateTime, new_public_id, utc_now
from utils.records.users import User

if TYPE_CHECKING:
    from utils.records.analyses import Analysis

CASE_STATES: Final = ("draft", "preliminary", "signed", "amended")


class Case(Record):
    """One specimen with its fields of view. A quick upload opens one by itself."""

    __tablename__ = "cases"
    __table_args__ = (
        sa.CheckConstraint(sa.column("state").in_(CASE_STATES), name="state_known"),
        sa.Index("ix_cases_owner_id_created_at_id", "owner_id", "created_at", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(sa.String(32), unique=True, default=new_public_id)
    accession: Mapped[str] = mapped_column(sa.String(64), default="", index=True)
    patient_reference: Mapped[str] = mapped_column(sa.String(120), default="")
    site: Mapped[str] = mapped_column(sa.String(120), default="")
    specimen_date: Mapped[date | None] = mapped_column(sa.Date)
    indication: Mapped[str] = mapped_column(sa.String(1000), default="")
    specimen_quality: Mapped[str] = mapped_column(sa.String(1000), default="")
    state: Mapped[str] = mapped_column(sa.String(16), default="draft")
    owner_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    owner: Mapped[User] = relationship()
    analyses: Mapped[list[Analysis]] = relationship(
        back_populates="case", order_by="Analysis.number"
    )
