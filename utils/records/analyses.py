"""Analyses: one field of view, read by one version of one network."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.cases import Case
from utils.records.database import Record, UtcDateTime, new_public_id, utc_now
from utils.records.users import User

if TYPE_CHECKING:
    from utils.records.labels import LabelEvent

REVIEW_STATES: Final = ("unreviewed", "confirmed", "corrected")
# What the size of a pixel was taken from; "" where it is not known.
SCALE_SOURCES: Final = ("", "metadata", "user", "red_cells")


class Analysis(Record):
    """What the program saw in one field, and where its review stands.

    The ``review_*`` columns repeat what the label events say, so that lists can be filtered; they
    are written in the same transaction as the event. `cams` and `nuclei` are loaded on demand.

    `um_per_px` is micrometres per pixel of the original, None where nobody knows;
    `um_per_px_source` says from where (`SCALE_SOURCES`), `um_per_px_spread` its relative
    uncertainty, and `um_per_px_cells` the red cells that an estimate rests on.
    """

    __tablename__ = "analyses"
    __table_args__ = (
        sa.CheckConstraint(sa.column("review_state").in_(REVIEW_STATES), name="review_state_known"),
        sa.CheckConstraint(
            sa.column("um_per_px_source").in_(SCALE_SOURCES), name="um_per_px_source_known"
        ),
        sa.UniqueConstraint("owner_id", "upload_key"),
        sa.UniqueConstraint("case_id", "number"),
        # Every list is paged by key: (created_at, id) within each filter.
        sa.Index("ix_analyses_created_at_id", "created_at", "id"),
        sa.Index("ix_analyses_owner_id_created_at_id", "owner_id", "created_at", "id"),
        sa.Index("ix_analyses_label_code_created_at_id", "label_code", "created_at", "id"),
        sa.Index("ix_analyses_review_state_created_at_id", "review_state", "created_at", "id"),
        sa.Index("ix_analyses_reviewed_by_id_created_at_id", "reviewed_by_id", "created_at", "id"),
        sa.Index("ix_analyses_probability_id", "probability", "id"),
        sa.Index("ix_analyses_owner_id_original_sha256", "owner_id", "original_sha256"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(sa.String(32), unique=True, default=new_public_id)
    case_id: Mapped[int] = mapped_column(sa.ForeignKey("cases.id"))
    owner_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    number: Mapped[int]
    upload_key: Mapped[str] = mapped_column(sa.String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    original_sha256: Mapped[str] = mapped_column(sa.String(64))
    original_media_type: Mapped[str] = mapped_column(sa.String(64))
    clahe_sha256: Mapped[str] = mapped_column(sa.String(64))
    boundaries_sha256: Mapped[str] = mapped_column(sa.String(64))
    thumbnail_sha256: Mapped[str] = mapped_column(sa.String(64))
    width_px: Mapped[int]
    height_px: Mapped[int]
    format: Mapped[str] = mapped_column(sa.String(16))
    decode_notes: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    um_per_px: Mapped[float | None] = mapped_column(sa.Double)
    um_per_px_source: Mapped[str] = mapped_column(sa.String(16), default="")
    um_per_px_spread: Mapped[float | None] = mapped_column(sa.Double)
    um_per_px_cells: Mapped[int | None]

    network_name: Mapped[str] = mapped_column(sa.String(64))
    network_version: Mapped[str] = mapped_column(sa.String(64))
    network_sha256: Mapped[str] = mapped_column(sa.String(64))
    logits: Mapped[list[float]] = mapped_column(sa.JSON)
    probabilities: Mapped[dict[str, float]] = mapped_column(sa.JSON)
    cams: Mapped[list[list[list[float]]]] = mapped_column(sa.JSON, deferred=True)
    label_code: Mapped[str | None] = mapped_column(sa.String(32))
    top_code: Mapped[str] = mapped_column(sa.String(32))
    probability: Mapped[float]
    abstained: Mapped[bool]
    reasons: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    flags: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    ood_distance: Mapped[float]
    heat_on_cells: Mapped[float | None]

    nuclei_count: Mapped[int]
    nuclei: Mapped[Any] = mapped_column(sa.JSON, deferred=True)
    quality: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    timings_ms: Mapped[dict[str, float]] = mapped_column(sa.JSON, default=dict)
    program_version: Mapped[str] = mapped_column(sa.String(32))

    reviewed_code: Mapped[str | None] = mapped_column(sa.String(32))
    reviewed_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    reviewed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    review_state: Mapped[str] = mapped_column(sa.String(16), default="unreviewed")

    case: Mapped[Case] = relationship(back_populates="analyses")
    owner: Mapped[User] = relationship(foreign_keys=[owner_id])
    reviewed_by: Mapped[User | None] = relationship(foreign_keys=[reviewed_by_id])
    label_events: Mapped[list[LabelEvent]] = relationship(
        back_populates="analysis", order_by="LabelEvent.id"
    )
