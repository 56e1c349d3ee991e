"""Every nucleated cell of a field with its body: a bounded flood around each nucleus."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from utils.imaging.basins import LabelImage
from utils.imaging.body import REACH, body_around, glass_level
from utils.imaging.crop import Polygons
from utils.imaging.nuclei import RGBImage, density_table
from utils.imaging.outline import CellOutline, nucleus_in
from utils.imaging.scale import reduce
from utils.imaging.tile import outline_if_tile
from utils.imaging.watershed import Nucleus, Segmentation, relabel, segment

# A cell's window is brought to at most this many pixels a side: outlines need
# no more, and the cost no longer grows with magnification.
WINDOW_PX = 112
# Parts of one nucleus: none larger than this many of the field's cells (area), none
# farther from the next than this many of their radii, no more than so many.
SMALL_PART, PARTS_APART, MOST_PARTS = 3.0, 0.7, 5
# Their common body fills at least this share of the circle around it, is no
# larger than this many of the cells' radii, and no more of it is nucleus.
LEAST_FILL, LARGEST_BODY, MOST_NUCLEUS = 0.7, 3.2, 0.65
MOST_GLASS = 0.1
# Where a field holds this many nuclei, a part is at most this share of the median one.
ENOUGH_TO_COMPARE, WHOLE = 6, 0.7
# The nucleus is looked for within this many radii of where it was found.
NUCLEUS_REACH = 0.3


@dataclass(frozen=True)
class _Field:
    """What all cells of a field share."""

    work: RGBImage
    table: NDArray[np.float32]
    level: float
    labels: LabelImage
    scale: float


@dataclass(frozen=True)
class Found:
    """The nucleated cells of a picture.

    Attributes
    ----------
    segmentation : Segmentation
        Nuclei; the parts of one segmented nucleus carry one label.
    middle : CellOutline or None
        The cell of a tile; None where the picture is a field.
    """

    segmentation: Segmentation
    middle: CellOutline | None

    @property
    def single_cell(self) -> bool:
        """Whether the picture is a tile of one cell and no field."""
        return self.middle is not None


def find_cells(
    pixels: RGBImage, *, working_pixels: int = 3_000_000, least_distance_px: int | None = None
) -> Found:
    """Find every nucleated cell of a field, or the one in the middle of a tile.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    working_pixels : int
        Larger images are reduced to this many pixels first.
    least_distance_px : int, optional
        Least distance between two cell centres, in original pixels.

    Returns
    -------
    found : Found
    """
    segmentation = segment(
        pixels, working_pixels=working_pixels, least_distance_px=least_distance_px
    )
    middle = outline_if_tile(pixels, segmentation)
    if middle is None:
        return Found(join_parts(pixels, segmentation), None)
    shape = (pixels.shape[0], pixels.shape[1])
    nucleus = middle.place(middle.nucleus, shape).astype(np.uint8)
    size = (segmentation.labels.shape[1], segmentation.labels.shape[0])
    labels = np.asarray(cv2.resize(nucleus, size, interpolation=cv2.INTER_NEAREST), np.int32)
    return Found(relabel(segmentation, shape, labels), middle)


def outline_found(pixels: RGBImage, found: Found) -> list[CellOutline]:
    """Outline all cells that were found, in the order of their labels.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    found : Found
        Of `pixels`.

    Returns
    -------
    outlines : list of CellOutline
    """
    if found.middle is not None and found.segmentation.count == 1:
        return [found.middle]
    return outline_cells(pixels, found.segmentation)


def outline_cells(pixels: RGBImage, segmentation: Segmentation) -> list[CellOutline]:
    """Outline the body and the nucleus of each cell that was found.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    segmentation : Segmentation
        Of `pixels`.

    Returns
    -------
    outlines : list of CellOutline
        In the order of `segmentation.nuclei`.
    """
    field = _field(pixels, segmentation)
    return [_outline(field, [nucleus]) for nucleus in segmentation.nuclei]


def outline_nuclei(
    pixels: RGBImage,
    nuclei: Sequence[Polygons],
    standing: Sequence[Polygons] = (),
    *,
    working_pixels: int = 3_000_000,
) -> list[CellOutline | None]:
    """Outline the cells around nuclei that a person has drawn or changed.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    nuclei : sequence of list of list of (x, y)
        Each nucleus as its pieces' corners, in pixels of the original.
    standing : sequence of list of list of (x, y)
        Nuclei of the cells around, which the new bodies keep off.
    working_pixels : int
        Larger images are reduced to this many pixels first.

    Returns
    -------
    outlines : list of CellOutline or None
        In the order of `nuclei`; None for one that has no pixel of its own.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, math.sqrt(working_pixels / (height * width)))
    shape = reduce(pixels, scale).shape[:2]
    labels = np.zeros(shape, np.int32)
    # What is asked for is drawn last: it may cover a neighbour's rim.
    drawn = [*standing, *nuclei]
    for value, pieces in enumerate(drawn, start=1):
        corners = [np.round((np.array(p) + 0.5) * scale - 0.5).astype(np.int32) for p in pieces]
        cv2.fillPoly(labels, corners, value)
    present = np.unique(labels)
    before = Segmentation(labels, scale, ())
    segmentation = relabel(before, (height, width), labels)
    field = _field(pixels, segmentation)
    outlines: list[CellOutline | None] = []
    for value in range(len(standing) + 1, len(drawn) + 1):
        place = int(np.searchsorted(present[present > 0], value))
        if value in present:
            outlines.append(_outline(field, [segmentation.nuclei[place]]))
        else:
            outlines.append(None)
    return outlines


def join_parts(pixels: RGBImage, segmentation: Segmentation) -> Segmentation:
    """Give the parts of one segmented nucleus one label.

    Small nuclei that lie close together are one cell where one round body holds
    them all; two cells that touch do not fill the circle around them.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    segmentation : Segmentation
        Of `pixels`; not modified.

    Returns
    -------
    segmentation : Segmentation
    """
    groups = _close_together(segmentation)
    if not groups:
        return segmentation
    field = _field(pixels, segmentation)
    labels = segmentation.labels
    joined = False
    for group in groups:
        for part in _one_body(field, group, segmentation.cell_radius_px, pixels.shape[:2]):
            if not joined:
                labels, joined = labels.copy(), True
            for nucleus in part[1:]:
                labels[labels == nucleus.label] = part[0].label
    if not joined:
        return segmentation
    return relabel(segmentation, (pixels.shape[0], pixels.shape[1]), labels)


def _close_together(segmentation: Segmentation) -> list[list[Nucleus]]:
    """Groups of small nuclei of which each lies near another of its group."""
    cell = segmentation.cell_radius_px
    most = SMALL_PART * math.pi * cell**2
    candidates = list(segmentation.nuclei)
    if segmentation.count >= ENOUGH_TO_COMPARE:
        # Parts of one nucleus are smaller than the field's whole ones.
        areas = [n.area_px for n in segmentation.nuclei if not n.touches_border]
        most = min(most, WHOLE * float(np.median(areas or [most])))
        # A cut nucleus is small as well, and touching ones at the edge are common.
        candidates = [n for n in candidates if not n.touches_border]
    small = [n for n in candidates if n.area_px <= most]
    if len(small) < 2:
        return []
    places = np.array([(n.centroid_row_px, n.centroid_col_px) for n in small])
    radii = np.sqrt([n.area_px / math.pi for n in small])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    near = apart - radii[:, None] - radii[None] < PARTS_APART * cell
    count, group = connected_components(near, directed=False)
    members = [[small[i] for i in np.flatnonzero(group == g)] for g in range(count)]
    return [m for m in members if 2 <= len(m) <= MOST_PARTS]


def _one_body(
    field: _Field, group: list[Nucleus], cell_px: float, shape: tuple[int, ...]
) -> list[list[Nucleus]]:
    """Those of a group that share a body: all of them, or the pair that fills its circle best."""
    if _fills_circle(field, group, cell_px, shape) >= LEAST_FILL:
        return [group]
    if len(group) == 2:
        return []
    pairs = list(itertools.combinations(group, 2))
    fills = [_fills_circle(field, list(pair), cell_px, shape) for pair in pairs]
    best = int(np.argmax(fills))
    if fills[best] < LEAST_FILL:
        return []
    rest = [n for n in group if n not in pairs[best]]
    more = _one_body(field, rest, cell_px, shape) if len(rest) > 1 else []
    return [list(pairs[best]), *more]


def _fills_circle(
    field: _Field, group: list[Nucleus], cell_px: float, shape: tuple[int, ...]
) -> float:
    """Share of the circle around a group's common body that the body fills; 0 for no cell."""
    outline, glass = _outline_and_glass(field, group)
    if glass > MOST_GLASS:
        return 0.0
    contours, _ = cv2.findContours(
        outline.cell.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    if len(contours) != 1:
        return 0.0
    (x, y), radius = cv2.minEnclosingCircle(contours[0])
    if radius / outline.zoom > LARGEST_BODY * cell_px:
        return 0.0
    if outline.nc_ratio > MOST_NUCLEUS:
        return 0.0
    # Only the part of the circle that lies in the picture can be filled.
    rows = np.arange(shape[0] * outline.zoom) - outline.top * outline.zoom
    cols = np.arange(shape[1] * outline.zoom) - outline.left * outline.zoom
    rows, cols = rows[np.abs(rows - y) <= radius], cols[np.abs(cols - x) <= radius]
    disc = np.hypot(rows[:, None] - y, cols[None] - x) <= radius
    return float(np.count_nonzero(outline.cell)) / float(np.count_nonzero(disc) or 1)


def _field(pixels: RGBImage, segmentation: Segmentation) -> _Field:
    work = reduce(pixels, segmentation.scale)
    table = density_table(work)
    level = glass_level(work, table)
    return _Field(work, table, level, segmentation.labels, segmentation.scale)


def _outline(field: _Field, group: list[Nucleus]) -> CellOutline:
    """Outline the cell that holds these nuclei."""
    return _outline_and_glass(field, group)[0]


def _outline_and_glass(field: _Field, group: list[Nucleus]) -> tuple[CellOutline, float]:
    """Outline, and the share of the body that is as pale as glass."""
    scale = field.scale
    radius = math.sqrt(sum(n.area_px for n in group) * scale**2 / math.pi)
    margin = math.ceil((REACH + 0.15) * radius) + 3
    boxes = np.array([n.box for n in group], np.float64) * scale
    top, left = (int(max(0, math.floor(v) - margin)) for v in boxes[:, :2].min(axis=0))
    bottom, right = (math.ceil(v) + margin for v in boxes[:, 2:].max(axis=0))
    pixels = field.work[top:bottom, left:right]
    found = field.labels[top:bottom, left:right]
    zoom = min(1.0, WINDOW_PX / float(max(pixels.shape[0], pixels.shape[1])))
    own = np.isin(found, [n.label for n in group]).astype(np.uint8)
    others = ((found > 0) & (own == 0)).astype(np.uint8)
    if zoom < 1.0:
        size = (round(pixels.shape[1] * zoom), round(pixels.shape[0] * zoom))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        own = np.asarray(cv2.resize(own, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        others = np.asarray(cv2.resize(others, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    density = np.asarray(cv2.LUT(np.ascontiguousarray(pixels), field.table[None]), np.float32)
    radius *= zoom
    cell = body_around(density, own, others, radius, field.level)
    nucleus = nucleus_in(cell, np.ascontiguousarray(density[..., 1]))
    near = cv2.distanceTransform(1 - own, cv2.DIST_L2, 3) <= NUCLEUS_REACH * radius
    nucleus = (nucleus & near) if (nucleus & near).any() else own > 0
    pale = np.asarray(cv2.GaussianBlur(density, (0, 0), 0.8)).max(axis=2)[cell] < field.level
    outline = CellOutline(top / scale, left / scale, zoom * scale, cell, nucleus)
    return outline, float(pale.mean())
