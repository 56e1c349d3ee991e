"""Repairs of what was found: split, merge, remove, add, and finding all cells again.

The cells that a repair takes away keep their rows and numbers; those that it draws get new ones.
Outlining is done before anybody is kept waiting; the event is refused if the cells have changed
meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Final

import cv2
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from utils.errors import Conflict, InvalidInput
from utils.imaging import cells as finding
from utils.imaging.crop import Polygons
from utils.imaging.outline import CellOutline
from utils.imaging.repair import find_at, split_nucleus
from utils.records import Analysis, Cell, CellEvent
from utils.records.database import AnySession
from utils.settings import Settings
from utils.workflow import access, read
from utils.workflow.cell_events import Request, append, done_before, present_cells
from utils.workflow.cell_rows import RowMaker

# Cells that one merge joins.
MOST_MERGED: Final = 12
# Two outlines are the same cell where they overlap so much (intersection over union).
SAME: Final = 0.8
# A cell that is pointed at is a new one where it overlaps no other by more than this share.
NEW: Final = 0.3
# Bounds of the seeds' least distance that may be asked for, in pixels of the original.
DISTANCES: Final = (3, 400)


def split(
    session: AnySession, request: Request, settings: Settings, number: int
) -> CellEvent | None:
    """Make two cells of one, parted at the nucleus' neck.

    Raises
    ------
    InvalidInput
        If the nucleus is too small to be parted.
    Conflict
        If the cell is gone, or somebody acted after the person looked.
    NotAllowed
        If the person's role does not let them.
    """
    access.require_correct(request.user, request.analysis)
    if (done := done_before(session, request)) is not None:
        return done
    (cell,) = present_cells(session, request.analysis, [number])
    parts = split_nucleus(cell.nucleus) if cell.nucleus else None
    if parts is None:
        raise InvalidInput("The nucleus of this cell is too small to be split.", code="too_small")
    return _redraw(session, request, settings, "split", [cell], parts)


def merge(
    session: AnySession, request: Request, settings: Settings, numbers: Collection[int]
) -> CellEvent | None:
    """Make one cell of several that lie together.

    Raises
    ------
    InvalidInput
        If fewer than two or too many are named, or they lie apart.
    Conflict, NotAllowed
        As in `split`.
    """
    access.require_correct(request.user, request.analysis)
    if not 2 <= len(set(numbers)) <= MOST_MERGED:
        raise InvalidInput(
            f"From 2 to {MOST_MERGED} cells to merge were expected; {len(set(numbers))} came.",
            code="merge_number",
        )
    if (done := done_before(session, request)) is not None:
        return done
    merged = present_cells(session, request.analysis, numbers)
    if not _lie_together(merged):
        raise InvalidInput("Only cells that touch or nearly touch can be merged.", code="apart")
    pieces = [piece for cell in merged for piece in cell.nucleus]
    return _redraw(session, request, settings, "merge", merged, [pieces])


def remove(session: AnySession, request: Request, numbers: Collection[int]) -> CellEvent | None:
    """Take cells out of the field: no cells, debris, doubles.

    Raises
    ------
    Conflict, InvalidInput, NotAllowed
    """

    def check(inner: AnySession, events: list[CellEvent]) -> dict[str, Any]:
        gone = present_cells(inner, request.analysis, numbers)
        return {"removed": [cell.number for cell in gone], "added": []}

    return append(request, "remove", check)


def add(
    session: AnySession, request: Request, settings: Settings, place: tuple[float, float]
) -> CellEvent | None:
    """Add the cell that a person points at.

    Parameters
    ----------
    place : tuple of float
        Row and column, pixels of the original.

    Raises
    ------
    InvalidInput
        If the place is outside, nothing stained stands there, or a cell was found there already.
    Conflict, NotAllowed
        As in `split`.
    """
    analysis = request.analysis
    access.require_correct(request.user, analysis)
    inside = 0 <= place[0] < analysis.height_px and 0 <= place[1] < analysis.width_px
    if not all(map(math.isfinite, place)) or not inside:
        raise InvalidInput("A place within the picture was expected.", code="place_outside")
    if (done := done_before(session, request)) is not None:
        return done
    _refuse_while_read(session, analysis)
    standing = read.list_cells(session, analysis)
    pixels = read.original(analysis, settings)
    outline = find_at(pixels, place, _typical_diameter(standing, analysis))
    if outline is None:
        raise InvalidInput(
            "No stained cell stands out there. Click on the middle of its nucleus.", code="no_cell"
        )
    for cell in standing:
        if _overlap(_mask_of(outline), _mask_of(cell), smaller=True) > NEW:
            raise InvalidInput(
                f"Cell {cell.number} is there already; split it if it is two.", code="cell_there"
            )
    # Outlined again beside its neighbours, so that it keeps off them.
    nucleus = outline.polygons(outline.nucleus)
    return _redraw(session, request, settings, "add", [], [nucleus], pixels=pixels)


def find_again(
    session: AnySession, request: Request, settings: Settings, least_distance_px: int
) -> CellEvent | None:
    """Find the field's cells with another least distance between them.

    Cells whose outline stays as it was keep their number and what was said of them.

    Returns
    -------
    event : CellEvent or None
        None where the cells stay as they are.

    Raises
    ------
    InvalidInput
        If the distance is out of `DISTANCES`.
    Conflict, NotAllowed
        As in `split`.
    """
    access.require_correct(request.user, request.analysis)
    if (done := done_before(session, request)) is not None:
        return done
    _refuse_while_read(session, request.analysis)
    outlines = preview(request.analysis, settings, least_distance_px)
    standing = read.list_cells(session, request.analysis)
    kept, fresh = _matched(standing, outlines)
    gone = [cell for cell in standing if cell.number not in kept]
    pixels = read.original(request.analysis, settings)
    return _keep(session, request, settings, "find_again", gone, fresh, pixels)


def preview(analysis: Analysis, settings: Settings, least_distance_px: int) -> list[CellOutline]:
    """Outline what would be found with another least distance; nothing is kept.

    Raises
    ------
    InvalidInput
        If the distance is out of `DISTANCES`.
    """
    low, high = DISTANCES
    if not low <= least_distance_px <= high:
        raise InvalidInput(f"A distance from {low} to {high} pixels was expected.")
    pixels = read.original(analysis, settings)
    found = finding.find_cells(
        pixels, working_pixels=settings.working_pixels, least_distance_px=least_distance_px
    )
    return finding.outline_found(pixels, found)


def _refuse_while_read(session: AnySession, analysis: Analysis) -> None:
    if read.is_being_read(session, analysis):
        raise Conflict(
            "The cells of this field are still being read; wait for them.", code="cells_awaited"
        )


def _redraw(
    session: AnySession,
    request: Request,
    settings: Settings,
    action: str,
    gone: Sequence[Cell],
    nuclei: Sequence[Polygons],
    *,
    pixels: NDArray[np.uint8] | None = None,
) -> CellEvent | None:
    """Outline cells around new nuclei, in place of some that are there."""
    if pixels is None:
        pixels = read.original(request.analysis, settings)
    taken = {cell.number for cell in gone}
    around = [
        cell.nucleus
        for cell in read.list_cells(session, request.analysis)
        if cell.number not in taken and cell.nucleus
    ]
    outlines = finding.outline_nuclei(
        pixels, nuclei, around, working_pixels=settings.working_pixels
    )
    drawn = [outline for outline in outlines if outline is not None]
    if len(drawn) != len(nuclei):
        raise InvalidInput("No cell could be outlined there.", code="no_cell")
    return _keep(session, request, settings, action, gone, drawn, pixels)


def _keep(
    session: AnySession,
    request: Request,
    settings: Settings,
    action: str,
    gone: Sequence[Cell],
    outlines: Sequence[CellOutline],
    pixels: NDArray[np.uint8],
) -> CellEvent | None:
    if not gone and not outlines:
        return None
    maker = RowMaker(pixels, request.analysis)
    rows = [maker.row(outline) for outline in outlines]
    taken = [cell.number for cell in gone]
    analysis_id = request.analysis.id

    def check(inner: AnySession, events: list[CellEvent]) -> dict[str, Any]:
        if taken:
            present_cells(inner, request.analysis, taken)
        highest = inner.scalar(
            sa.select(sa.func.max(Cell.number)).where(Cell.analysis_id == analysis_id)
        )
        first = (highest or 0) + 1
        for number, row in enumerate(rows, start=first):
            inner.add(Cell(analysis_id=analysis_id, number=number, origin="person", **row))
        inner.flush()
        if rows and read.serving_version(settings) is not None:
            # The network names them after the answer; their numbers make the job one of its kind.
            read.ask_for_names(inner, request.analysis, request.user, first=first)
        return {"removed": taken, "added": list(range(first, first + len(rows)))}

    return append(request, action, check)


def _typical_diameter(cells: Sequence[Cell], analysis: Analysis) -> float:
    if cells:
        return float(np.median([cell.diameter_px for cell in cells]))
    # Nothing was found: about the share of the field that a cell takes at high magnification.
    return 0.08 * min(analysis.width_px, analysis.height_px)


_Mask = tuple[NDArray[np.bool_], int, int]


def _mask_of(cell: Cell | CellOutline) -> _Mask:
    """The body of a cell as a mask at a coarse grid, and where its window begins."""
    corners = cell.outline if isinstance(cell, Cell) else (cell.polygons(cell.cell) or [[]])[0]
    places = np.array(corners, np.float64).reshape(-1, 2)
    if not len(places):
        return np.zeros((1, 1), np.bool_), 0, 0
    left, top = (int(v) for v in np.floor(places.min(axis=0)))
    right, bottom = (int(v) for v in np.ceil(places.max(axis=0)))
    mask = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillPoly(mask, [np.round(places - (left, top)).astype(np.int32)], 1)
    return mask > 0, top, left


def _overlap(one: _Mask, other: _Mask, *, smaller: bool = False) -> float:
    """Intersection over union, or over the smaller of two masks."""
    (a, top_a, left_a), (b, top_b, left_b) = one, other
    top, left = max(top_a, top_b), max(left_a, left_b)
    bottom = min(top_a + a.shape[0], top_b + b.shape[0])
    right = min(left_a + a.shape[1], left_b + b.shape[1])
    if bottom <= top or right <= left:
        return 0.0
    both = np.count_nonzero(
        a[top - top_a : bottom - top_a, left - left_a : right - left_a]
        & b[top - top_b : bottom - top_b, left - left_b : right - left_b]
    )
    areas = np.count_nonzero(a), np.count_nonzero(b)
    whole = min(areas) if smaller else areas[0] + areas[1] - both
    return both / whole if whole else 0.0


def _matched(
    standing: Sequence[Cell], outlines: Sequence[CellOutline]
) -> tuple[set[int], list[CellOutline]]:
    """Numbers of the cells that stay, and the outlines that are new."""
    masks = [(cell.number, _mask_of(cell)) for cell in standing]
    kept: set[int] = set()
    fresh = []
    for outline in outlines:
        own = _mask_of(outline)
        same = next((n for n, mask in masks if n not in kept and _overlap(own, mask) >= SAME), None)
        if same is None:
            fresh.append(outline)
        else:
            kept.add(same)
    return kept, fresh


def _lie_together(cells: Sequence[Cell]) -> bool:
    """Whether each cell reaches another by a quarter of a diameter, so that all hang together."""
    left = list(cells[1:])
    joined = [cells[0]]
    while left:
        near = next((cell for cell in left if any(_near(cell, one) for one in joined)), None)
        if near is None:
            return False
        left.remove(near)
        joined.append(near)
    return True


def _near(one: Cell, other: Cell) -> bool:
    apart = math.dist((one.row_px, one.col_px), (other.row_px, other.col_px))
    return apart <= 1.25 * (one.diameter_px + other.diameter_px) / 2
