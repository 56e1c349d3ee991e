"""The scale of a field: what its file states, what a person says, else what its red cells tell.

They count in the order user, metadata, red cells: an estimate never takes the place of what the
file or a person said, and a person may always put it right. Each change by a person is in the
audit trail with the old value and the new one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from utils.errors import InvalidInput
from utils.imaging.morphometry import COLUMNS
from utils.imaging.pixel_size import PixelSize
from utils.imaging.stated_scale import LARGEST_UM, SMALLEST_UM
from utils.records import Analysis, User, audit, db
from utils.records.database import AnySession
from utils.workflow import access

_COLUMNS = ("um_per_px", "um_per_px_source", "um_per_px_spread", "um_per_px_cells")
# Significant digits that are kept: no source is nearer to the truth.
_DIGITS = 6


def stated_scale(um_per_px: float | None) -> dict[str, Any]:
    """Give a new analysis's columns by what its file states.

    Parameters
    ----------
    um_per_px : float or None
        From `decode`, in its range already.
    """
    if um_per_px is None:
        return {"um_per_px": None, "um_per_px_source": ""}
    return {"um_per_px": _rounded(um_per_px), "um_per_px_source": "metadata"}


def keep_estimate(session: AnySession, analysis: Analysis, size: PixelSize | None) -> None:
    """Take the scale from a field's red cells, where nothing better is known; the caller commits.

    Parameters
    ----------
    size : PixelSize or None
        From `estimate_pixel_size`. None, or one that is no microscope's, takes an older estimate
        away: a field that is read again may tell less.
    """
    values: dict[str, Any] = dict.fromkeys(_COLUMNS) | {"um_per_px_source": ""}
    if size is not None and SMALLEST_UM <= size.um_per_px <= LARGEST_UM:
        values = {
            "um_per_px": _rounded(size.um_per_px),
            "um_per_px_source": "red_cells",
            "um_per_px_spread": _rounded(size.spread),
            "um_per_px_cells": size.red_cells,
        }
    # Asked of the table and not of what was loaded: whoever said it meanwhile is right.
    session.execute(
        sa.update(Analysis)
        .where(Analysis.id == analysis.id, Analysis.um_per_px_source.in_(("", "red_cells")))
        .values(values)
        .execution_options(synchronize_session=False)
    )


def set_scale(analysis: Analysis, user: User, um_per_px: float) -> None:
    """Keep what a person says of the scale.

    Parameters
    ----------
    um_per_px : float
        Micrometres per pixel of the original, `SMALLEST_UM` to `LARGEST_UM`.

    Raises
    ------
    NotFound, NotAllowed
        If `user` may not change the analysis.
    InvalidInput
        If the number is no microscope's.
    """
    access.require_correct(user, analysis)
    if not (math.isfinite(um_per_px) and SMALLEST_UM <= um_per_px <= LARGEST_UM):
        raise InvalidInput(
            f"Micrometres per pixel from {SMALLEST_UM:g} to {LARGEST_UM:g} were expected; "
            f"{um_per_px:g} came.",
            code="um_per_px",
        )
    session = db.session()
    try:
        # A write that changes nothing takes the lock: the old value below is the one replaced.
        session.execute(
            sa.update(Analysis)
            .where(Analysis.id == analysis.id)
            .values(um_per_px_source=Analysis.um_per_px_source)
            .execution_options(synchronize_session=False)
        )
        session.refresh(analysis, _COLUMNS)
        old = {"um_per_px": analysis.um_per_px, "source": analysis.um_per_px_source}
        new = {"um_per_px": _rounded(um_per_px), "source": "user"}
        if old != new:
            analysis.um_per_px, analysis.um_per_px_source = _rounded(um_per_px), "user"
            analysis.um_per_px_spread = analysis.um_per_px_cells = None
            audit.append(
                session,
                action="analysis.scale",
                object_type="analysis",
                object_id=analysis.public_id,
                actor_id=user.id,
                details={"old": old, "new": new},
            )
        session.commit()
    except BaseException:
        session.rollback()
        raise


def in_micrometres(
    measures: Mapping[str, Any], um_per_px: float | None
) -> dict[str, float | int | None]:
    """Add to a cell's stored measurements those in micrometres that its field's scale gives.

    Parameters
    ----------
    measures : mapping
        Value by name of a column of `morphometry.COLUMNS`; not modified.
    um_per_px : float or None
        None leaves them as they are.

    Returns
    -------
    measures : dict
        The figures in pixels unchanged.
    """
    added = dict(measures)
    if um_per_px is None:
        return added
    for column in COLUMNS:
        for suffix, power in (("_um", 1), ("_um2", 2)):
            in_pixels = measures.get(f"{column.name.removesuffix(suffix)}_px")
            if column.name.endswith(suffix) and in_pixels is not None:
                added[column.name] = round(in_pixels * um_per_px**power, 2)
    return added


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
