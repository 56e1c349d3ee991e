"""Report versions: every paper that was ever issued."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.analyses import Analysis
from utils.records.cases import Case
from utils.records.database import Record, UtcDateTime, append_only, new_public_id, utc_now
from utils.records.users import User


@append_only
class ReportVersion(Record):
    """One issued PDF. `public_id` stands in its QR code; a newer version points back to it."""

    __tablename__ = "report_versions"
    __table_args__ = (
        # Two versions of one number, or two successors of one paper, would both be "current".
        sa.UniqueConstraint("analysis_id", "number"),
        sa.UniqueConstraint("replaces_id"),
        sa.Index("ix_report_versions_case_id_created_at", "case_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(sa.String(32), unique=True, default=new_public_id)
    case_id: Mapped[int] = mapped_column(sa.ForeignKey("cases.id"))
    analysis_id: Mapped[int] = mapped_column(sa.ForeignKey("analyses.id"))
    number: Mapped[int]
    pdf_sha256: Mapped[str] = mapped_column(sa.String(64))
    content_sha256: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    created_by_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    replaces_id: Mapped[int | None] = mapped_column(sa.ForeignKey("report_versions.id"))

    case: Mapped[Case] = relationship()
    analysis: Mapped[Analysis] = relationship()
    created_by: Mapped[User] = relationship()
    replaces: Mapped[ReportVersion | None] = relationship(remote_side=[id])
