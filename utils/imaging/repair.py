"""Nuclei that a person splits, joins or points at."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.basins import flood, seeds_of
from utils.imaging.crop import Polygons
from utils.imaging.nuclei import RGBImage
from utils.imaging.outline import CellOutline
from utils.imaging.scale import distance_map
from utils.imaging.tile import outline_middle_cell

# A nucleus is split at this many pixels a side; finer corners change nothing.
SPLIT_PX = 96
# Seeds are looked for from this share of the nucleus' radius apart, then nearer.
FARTHEST, NEAREST, CLOSER = 1.2, 0.1, 0.75
# Neither part is smaller than this share of the nucleus.
LEAST_PART = 0.08
# Width of the window around a click, in diameters of the field's cells.
AROUND = 2.4
# A cell that is pointed at lies within this many of its own radii of the click.
NEAR = 1.0


def split_nucleus(pieces: Polygons) -> tuple[Polygons, Polygons] | None:
    """Part a nucleus in two: at its narrowest neck, or across its longer axis.

    Parameters
    ----------
    pieces : list of list of (x, y)
        Corners of its pieces, pixels of the original.

    Returns
    -------
    parts : pair of list of list of (x, y), or None
        None where the nucleus is too small to be parted.
    """
    mask, left, top, zoom = _drawn(pieces)
    if np.count_nonzero(mask) < 16:
        return None
    halves = _at_the_neck(mask)
    if halves is None:
        halves = _across(mask)
    parts = [CellOutline(top, left, zoom, half, half) for half in halves]
    first, second = (part.polygons(part.cell) for part in parts)
    if not first or not second:
        return None
    return first, second


def find_at(pixels: RGBImage, place: tuple[float, float], diameter_px: float) -> CellOutline | None:
    """Outline the cell that a person points at.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    place : tuple of float
        Row and column, pixels.
    diameter_px : float
        About the diameter of the field's cells.

    Returns
    -------
    outline : CellOutline or None
        None where nothing stained stands there.
    """
    reach = math.ceil(AROUND * diameter_px / 2)
    row, col = round(place[0]), round(place[1])
    top, left = max(0, row - reach), max(0, col - reach)
    window = np.ascontiguousarray(pixels[top : row + reach + 1, left : col + reach + 1])
    if min(window.shape[:2]) < 8:
        return None
    # Beyond the picture the window is filled up, so that the click stays its middle.
    above, before = max(0, reach - row), max(0, reach - col)
    below = max(0, 2 * reach + 1 - window.shape[0] - above)
    after = max(0, 2 * reach + 1 - window.shape[1] - before)
    window = np.asarray(
        cv2.copyMakeBorder(window, above, below, before, after, cv2.BORDER_REPLICATE), np.uint8
    )
    found = outline_middle_cell(window)
    if found is None or not found.nucleus.any():
        return None
    placed = CellOutline(
        found.top + top - above, found.left + left - before, found.zoom, found.cell, found.nucleus
    )
    away = math.dist(placed.centre_px, place)
    return placed if away <= NEAR * placed.diameter_px / 2 else None


def _drawn(pieces: Polygons) -> tuple[NDArray[np.bool_], float, float, float]:
    """Mask of a nucleus, and the left, top and zoom of its window."""
    corners = [np.array(piece, np.float64) for piece in pieces]
    every = np.concatenate(corners)
    left, top = every.min(axis=0) - 2.0
    right, bottom = every.max(axis=0) + 3.0
    zoom = min(4.0, SPLIT_PX / max(right - left, bottom - top))
    height, width = (max(1, math.ceil(v * zoom)) for v in (bottom - top, right - left))
    mask = np.zeros((height, width), np.uint8)
    for piece in corners:
        # `CellOutline.polygons` places window pixels the same way.
        inside = (piece + 0.5 - (left, top)) * zoom - 0.5
        cv2.fillPoly(mask, [np.round(inside).astype(np.int32)], 1)
    return mask > 0, float(left), float(top), zoom


def _at_the_neck(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    distance = distance_map(mask.astype(np.uint8))
    radius = math.sqrt(np.count_nonzero(mask) / math.pi)
    apart = FARTHEST * radius
    while apart >= max(1.0, NEAREST * radius):
        basins = flood(distance, seeds_of(distance, apart_px=apart, least_px=1.0))
        areas = np.bincount(basins.ravel(), minlength=2)[1:]
        large = np.flatnonzero(areas >= LEAST_PART * areas.sum()) + 1
        if len(large) >= 2:
            return _two_of(basins, large[np.argsort(-areas[large - 1])][:2], mask)
        apart *= CLOSER
    return None


def _two_of(
    basins: NDArray[np.int32], kept: NDArray[np.int64], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Give every pixel to the nearer of two basins."""
    away = [
        cv2.distanceTransform((basins != value).astype(np.uint8), cv2.DIST_L2, 5) for value in kept
    ]
    first = mask & (away[0] <= away[1])
    return first, mask & ~first


def _across(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Part a convex mask in the middle of its longer axis."""
    rows, cols = np.nonzero(mask)
    places = np.stack([rows, cols], axis=1).astype(np.float64)
    middle = places.mean(axis=0)
    axis = np.linalg.eigh(np.cov((places - middle).T))[1][:, -1]
    first = np.zeros_like(mask)
    first[rows, cols] = (places - middle) @ axis < 0.0
    return first, mask & ~first
