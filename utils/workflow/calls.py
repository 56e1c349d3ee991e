"""The cells of a case by class: as the network named them, and as people confirmed them.

The two are kept apart from here on. Only columns are read, never a cell's picture or outline, so
that a case of thousands of cells is counted while its page is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import sqlalchemy as sa

from utils.records.analyses import Analysis
from utils.records.cases import Case
from utils.records.cells import Cell
from utils.records.database import AnySession

# A box within this of the picture's edge is cut by it: outlines are drawn to half a pixel, and
# the original may be a pixel larger than what the cells were found on.
EDGE_PX: Final = 1.5
BORDER_RULE: Final = (
    "A cell that the picture cuts counts where the top or the left edge cuts it, and not where "
    "the bottom or the right edge does: a cell on the seam of two neighbouring fields counts once."
)


class CutCell(Protocol):
    """What the border rule asks of a cell."""

    @property
    def touches_border(self) -> bool:
        """Whether the picture cuts it."""

    @property
    def box(self) -> Sequence[float]:
        """Top, left, bottom, right; pixels of the original picture."""


class Frame(Protocol):
    """What the border rule asks of a field."""

    @property
    def width_px(self) -> int:
        """Columns of the original picture."""

    @property
    def height_px(self) -> int:
        """Rows of the original picture."""


@dataclass(frozen=True)
class CaseCalls:
    """The cells of a case, over its fields. Cells that the border rule leaves out are in none.

    Attributes
    ----------
    by_network : dict of str to int
        Cells by the class that the network named, reviewed or not.
    confirmed : dict of str to int
        Cells by the class that a person confirmed or corrected to.
    unclassifiable : int
        Cells that the network read and named no class of.
    not_read : int
        Cells that no network read: found by the program where none is installed, or drawn.
    unreviewed : int
        Cells that nobody has reviewed.
    set_aside : int
        Cells that a person reviewed and gave no class.
    cut_and_left_out : int
        Cells that the bottom or the right edge cuts.
    fields : int
        Fields of the case.
    fields_with_cells : int
        Those that have a cell, repeated pictures left out: what the differential is over.
    repeats_left_out : int
        Fields whose picture the case holds twice; the copy with fewer reviews is not counted.
    networks : tuple of (str, str)
        Name and version of each network that read a cell counted here.
    """

    by_network: dict[str, int]
    confirmed: dict[str, int]
    unclassifiable: int
    not_read: int
    unreviewed: int
    set_aside: int
    cut_and_left_out: int
    fields: int
    fields_with_cells: int
    repeats_left_out: int
    networks: tuple[tuple[str, str], ...]


def counts_here(cell: CutCell, analysis: Frame) -> bool:
    """Whether a cell counts in this field, by the border rule.

    Parameters
    ----------
    cell : Cell or a row with its columns `touches_border` and `box`
    analysis : Analysis or a row with `width_px` and `height_px`

    Returns
    -------
    counts : bool
        True for a whole cell and for one that the top or the left edge alone cuts. Bottom and
        right win in a corner, so that a cell that four fields share counts in one of them.

    References
    ----------
    .. [1] Gundersen (1977), doi:10.1111/j.1365-2818.1977.tb00062.x: the unbiased counting frame.
    """
    if not cell.touches_border:
        return True
    _, _, bottom, right = cell.box
    return bottom < analysis.height_px - EDGE_PX and right < analysis.width_px - EDGE_PX


def calls_of_case(session: AnySession, case: Case) -> CaseCalls:
    """Count the present cells of a case by class, in three queries however many there are."""
    fields = _fields(session, case)
    counted = _without_repeats(fields)
    rows = [*_whole_cells(session, counted)]
    left_out = 0
    for row in _cut_cells(session, counted):
        if counts_here(row, row):
            rows.append(row)
        else:
            left_out += 1
    reviewed = [row for row in rows if row.review_state != "unreviewed"]
    return CaseCalls(
        by_network=_by_class((row.code, row.cells) for row in rows),
        confirmed=_by_class((row.reviewed_code, row.cells) for row in reviewed),
        unclassifiable=_sum(rows, lambda row: row.network_name is not None and row.code is None),
        not_read=_sum(rows, lambda row: row.network_name is None),
        unreviewed=_sum(rows, lambda row: row.review_state == "unreviewed"),
        set_aside=_sum(reviewed, lambda row: row.reviewed_code is None),
        cut_and_left_out=left_out,
        fields=len(fields),
        fields_with_cells=sum(field.cells > 0 for field in fields if field.id in counted),
        repeats_left_out=len(fields) - len(counted),
        networks=tuple(
            sorted(
                {
                    (row.network_name, row.network_version or "")
                    for row in rows
                    if row.network_name is not None
                }
            )
        ),
    )


def _fields(session: AnySession, case: Case) -> list[Any]:
    reviewed = sa.case((Cell.review_state != "unreviewed", 1))
    statement = (
        sa.select(
            Analysis.id,
            Analysis.original_sha256,
            sa.func.count(Cell.id).label("cells"),
            sa.func.count(reviewed).label("reviewed"),
        )
        .outerjoin(Cell, sa.and_(Cell.analysis_id == Analysis.id, Cell.present))
        .where(Analysis.case_id == case.id)
        .group_by(Analysis.id, Analysis.original_sha256, Analysis.number)
        .order_by(Analysis.number)
    )
    return list(session.execute(statement))


def _without_repeats(fields: Sequence[Any]) -> set[int]:
    """Fields to count: of several with one and the same picture, the one most looked at."""
    best: dict[str, Any] = {}
    for field in fields:
        known = best.setdefault(field.original_sha256, field)
        if (field.reviewed, field.cells) > (known.reviewed, known.cells):
            best[field.original_sha256] = field
    return {field.id for field in best.values()}


_CALL: Final = (
    Cell.network_name,
    Cell.network_version,
    Cell.code,
    Cell.review_state,
    Cell.reviewed_code,
)


def _whole_cells(session: AnySession, fields: set[int]) -> Sequence[Any]:
    statement = (
        sa.select(*_CALL, sa.func.count().label("cells"))
        .where(Cell.analysis_id.in_(fields), Cell.present, sa.not_(Cell.touches_border))
        .group_by(*_CALL)
    )
    return session.execute(statement).all()


def _cut_cells(session: AnySession, fields: set[int]) -> Sequence[Any]:
    statement = (
        sa.select(
            *_CALL,
            Cell.touches_border,
            Cell.box,
            Analysis.width_px,
            Analysis.height_px,
            sa.literal(1).label("cells"),
        )
        .join(Analysis, Cell.analysis_id == Analysis.id)
        .where(Cell.analysis_id.in_(fields), Cell.present, Cell.touches_border)
    )
    return session.execute(statement).all()


def _by_class(calls: Iterable[tuple[str | None, int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for code, cells in calls:
        if code is not None:
            counts[code] += cells
    return dict(counts)


def _sum(rows: Iterable[Any], of: Any) -> int:
    return sum(row.cells for row in rows if of(row))
