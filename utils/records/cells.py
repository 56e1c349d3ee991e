"""Cells: each nucleated cell of a field, outlined, measured and, with a network, read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.analyses import Analysis
from utils.records.database import Record, UtcDateTime, new_public_id, utc_now


class Cell(Record):
    """One cell as the program read it. Pixels are those of the original picture.

    `code` is None where the cell network abstained; `network_name` is None where none was
    installed: then the cell is found and measured alone. `crop` and `embedding` are loaded on
    demand.
    """

    __tablename__ = "cells"
    __table_args__ = (sa.UniqueConstraint("analysis_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(sa.String(32), unique=True, default=new_public_id)
    analysis_id: Mapped[int] = mapped_column(sa.ForeignKey("analyses.id"))
    number: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    row_px: Mapped[float]
    col_px: Mapped[float]
    diameter_px: Mapped[float]
    box: Mapped[list[float]] = mapped_column(sa.JSON)
    outline: Mapped[list[list[float]]] = mapped_column(sa.JSON)
    nucleus: Mapped[list[list[list[float]]]] = mapped_column(sa.JSON)
    touches_border: Mapped[bool]
    measures: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    field_evidence: Mapped[dict[str, float]] = mapped_column(sa.JSON, default=dict)

    network_name: Mapped[str | None] = mapped_column(sa.String(64))
    network_version: Mapped[str | None] = mapped_column(sa.String(64))
    network_sha256: Mapped[str | None] = mapped_column(sa.String(64))
    logits: Mapped[list[float]] = mapped_column(sa.JSON, default=list)
    probabilities: Mapped[dict[str, float]] = mapped_column(sa.JSON, default=dict)
    code: Mapped[str | None] = mapped_column(sa.String(32))
    top_code: Mapped[str | None] = mapped_column(sa.String(32))
    probability: Mapped[float | None]
    reasons: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    ood_distance: Mapped[float | None]

    crop: Mapped[bytes] = mapped_column(sa.LargeBinary, deferred=True)
    embedding: Mapped[bytes] = mapped_column(sa.LargeBinary, deferred=True, default=b"")

    analysis: Mapped[Analysis] = relationship()
