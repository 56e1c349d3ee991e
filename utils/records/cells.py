"""Cells: each nucleated cell of a field as it was found and read, and what people said of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.analyses import Analysis
from utils.records.database import Record, UtcDateTime, append_only, new_public_id, utc_now
from utils.records.users import User

CELL_ACTIONS: Final = (
    "confirm",
    "correct",
    "split",
    "merge",
    "remove",
    "add",
    "find_again",
    "undo",
    "redo",
)
CELL_ORIGINS: Final = ("found", "person")


class Cell(Record):
    """One cell as the program read it. Pixels are those of the original picture.

    `code` is None where the cell network abstained; `network_name` is None where none was
    installed: then the cell is found and measured alone. `crop` and `embedding` are loaded on
    demand. `origin` says who drew it. `present` and the `review_*` columns follow from the field's
    `CellEvent` rows: a cell that a repair took away keeps its row and its number.
    """

    __tablename__ = "cells"
    __table_args__ = (
        sa.UniqueConstraint("analysis_id", "number"),
        sa.CheckConstraint(sa.column("origin").in_(CELL_ORIGINS), name="origin_known"),
        sa.Index("ix_cells_reviewed_code_reviewed_at", "reviewed_code", "reviewed_at"),
    )

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

    origin: Mapped[str] = mapped_column(sa.String(16), default="found")
    present: Mapped[bool] = mapped_column(default=True)
    review_state: Mapped[str] = mapped_column(sa.String(16), default="unreviewed")
    reviewed_code: Mapped[str | None] = mapped_column(sa.String(32))
    reviewed_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    reviewed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    analysis: Mapped[Analysis] = relationship()


@append_only
class CellEvent(Record):
    """What a person did to the cells of a field, all at once. Never changed and never removed.

    `changes` holds, for a confirmation or a correction, ``{"cells": [{"number", "old", "new"}]}``;
    for a repair ``{"removed": [numbers], "added": [numbers]}``; for an undo or a redo
    ``{"event": id}``, the event that is taken back or done again.
    """

    __tablename__ = "cell_events"
    __table_args__ = (
        sa.CheckConstraint(sa.column("action").in_(CELL_ACTIONS), name="action_known"),
        sa.Index("ix_cell_events_analysis_id_id", "analysis_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(sa.ForeignKey("analyses.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    action: Mapped[str] = mapped_column(sa.String(16))
    changes: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    reason: Mapped[str] = mapped_column(sa.String(1000), default="")
    # Chosen by the page that sends it: sent twice, it is done once.
    request_key: Mapped[str] = mapped_column(sa.String(64), unique=True)

    user: Mapped[User] = relationship()
