"""Pictures of a single cell: a tile with the cell in its middle, as readers export them."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.nuclei import BoolImage, FloatImage, RGBImage, optical_density
from utils.imaging.outline import CellOutline, ellipse, fill_holes, nucleus_in
from utils.imaging.watershed import Segmentation

# Longer side at which the cell is looked for and outlined, pixels.
SEARCH_PX = 96
OUTLINE_PX = 160
# Radii and offsets of the circle that is fitted to the cell, in shares of the
# longer side; the offset's weight falls off as a Gaussian of this width.
RADII = np.arange(0.08, 0.52, 0.02)
OFFSETS = np.arange(-0.14, 0.141, 0.035)
MIDDLE = 0.16
# Larger circles are preferred over the lobes inside them by this power of the radius.
LARGER = 0.5
DIRECTIONS = 48
# The body reaches this far beyond the fitted circle, in radii; it is cut off
# from threads and neighbours by an opening of this many radii.
REACH, OPENING = 1.18, 0.15
# Bounds of the optical density that parts the cell from the background, and its share of the
# darkest stain: without it dark nuclei beside pale cytoplasm would part nucleus from cell. Where
# the body fills less of the fitted circle than `LEAST_FILL`, it is read at `PALER` at most.
PALEST, DARKEST, PALER = 0.05, 0.25, 0.16
SHARE_OF_DARKEST, DARKEST_QUANTILE, LEAST_FILL = 0.16, 0.97, 0.6
# A picture is a tile where its cell's diameter is at least this share of the
# shorter side, the typical nucleus's at least that, and the picture no larger
# than this. Measured: cells of `marrow7` and `wbc_masks` from 0.27 on (2nd
# percentile), nuclei from 0.19 on; nuclei of `all4`'s fields up to 0.13.
LEAST_SHARE, LEAST_NUCLEUS, LARGEST_PX = 0.24, 0.16, 512


def outline_middle_cell(pixels: RGBImage) -> CellOutline | None:
    """Outline the cell in the middle of a tile.

    The circle with the greatest fall of stain across it is fitted first (an
    integro-differential operator), so that a crowd of neighbours or the lobes
    of a segmented nucleus do not decide; the body is what is stained within it.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.

    Returns
    -------
    outline : CellOutline or None
        None where nothing stained stands in the middle.

    References
    ----------
    .. [1] Daugman (1993), doi:10.1109/34.244676
    """
    fit = _fit(pixels)
    if fit is None:
        return None
    row, col, radius = fit
    longer = max(pixels.shape[:2])
    zoom = min(1.0, OUTLINE_PX / longer)
    work = _resized(pixels, zoom)
    density = optical_density(work)
    stain, level = _stain(density)
    rows, cols = np.ogrid[: work.shape[0], : work.shape[1]]
    away = np.hypot(rows - row * work.shape[0], cols - col * work.shape[1])
    reach_px = radius * longer * zoom
    cell = _body(stain, level, away, reach_px)
    if np.count_nonzero(cell) < LEAST_FILL * np.count_nonzero(away < reach_px):
        cell = _body(stain, min(level, PALER), away, reach_px)
    if not cell.any():
        return None
    green = np.ascontiguousarray(density[..., 1])
    return CellOutline(0.0, 0.0, zoom, cell, nucleus_in(cell, green))


def _body(stain: FloatImage, level: float, away: NDArray[np.float64], reach_px: float) -> BoolImage:
    """What is stained within the fitted circle and hangs together with its middle."""
    body = ((stain > level) & (away < REACH * reach_px)).astype(np.uint8)
    disc = ellipse(max(1, round(OPENING * reach_px)))
    count, pieces = cv2.connectedComponents(cv2.morphologyEx(body, cv2.MORPH_OPEN, disc))
    within = np.bincount(pieces[away < 0.8 * reach_px], minlength=count)
    within[0] = 0
    if not within.any():
        return np.zeros_like(body, np.bool_)
    return fill_holes(np.asarray(pieces == within.argmax()))


def outline_if_tile(pixels: RGBImage, segmentation: Segmentation) -> CellOutline | None:
    """Outline the cell of a tile; None where the picture is a field.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    segmentation : Segmentation
        Of `pixels`: in a tile the nuclei are large.

    Returns
    -------
    outline : CellOutline or None
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    if max(height, width) > LARGEST_PX or max(height, width) > 2 * side:
        return None
    if segmentation.nuclei:
        typical = float(np.median([n.area_px for n in segmentation.nuclei]))
        if 2.0 * math.sqrt(typical / math.pi) < LEAST_NUCLEUS * side:
            return None
    outline = outline_middle_cell(pixels)
    if outline is None or outline.diameter_px < LEAST_SHARE * side:
        return None
    return outline


def _resized(pixels: RGBImage, zoom: float) -> RGBImage:
    if zoom == 1.0:
        return pixels
    height, width = pixels.shape[:2]
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    how = cv2.INTER_AREA if zoom < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def _stain(density: FloatImage) -> tuple[FloatImage, float]:
    """How strongly anything is stained, and the level that parts it from nothing."""
    stain = cv2.GaussianBlur(density.max(axis=2), (0, 0), 0.008 * max(density.shape))
    steps = np.minimum(stain * 500.0, 250.0).astype(np.uint8)
    otsu = cv2.threshold(steps, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0] / 500.0
    level = min(otsu, SHARE_OF_DARKEST * float(np.quantile(stain, DARKEST_QUANTILE)))
    return np.asarray(stain, np.float32), float(np.clip(level, PALEST, DARKEST))


def _fit(pixels: RGBImage) -> tuple[float, float, float] | None:
    """Row and column (shares of height and width) and radius (of the longer side)."""
    if min(pixels.shape[:2]) < 8:
        return None
    small = _resized(pixels, SEARCH_PX / max(pixels.shape[:2]))
    stain, level = _stain(optical_density(small))
    if not (stain > level).any():
        return None
    # The circle is that of the whole cell: its cytoplasm weighs as much as its nucleus.
    soft = np.clip(stain / (2.0 * min(level, PALER)), 0.0, 1.0).astype(np.float32)
    height, width = soft.shape
    rows, cols = np.meshgrid(
        OFFSETS * SEARCH_PX + (height - 1) / 2, OFFSETS * SEARCH_PX + (width - 1) / 2, indexing="ij"
    )
    rings = np.stack([_ring(soft, rows, cols, share * SEARCH_PX) for share in RADII])
    inside = np.cumsum(rings, axis=0) / np.arange(1, len(RADII) + 1)[:, None, None]
    fall = np.zeros_like(rings)
    fall[:-1] = rings[:-1] - rings[1:]
    fall[1:-1] += 0.5 * (rings[:-2] - rings[2:])
    middle = np.exp(-(OFFSETS[:, None] ** 2 + OFFSETS[None] ** 2) / (2 * MIDDLE**2))
    score = fall * inside * middle * (RADII**LARGER)[:, None, None]
    best = np.unravel_index(int(score.argmax()), score.shape)
    if score[best] <= 0.0:
        return None
    row, col = float(rows[best[1:]]), float(cols[best[1:]])
    return (row + 0.5) / height, (col + 0.5) / width, float(RADII[best[0]]) + 0.01


def _ring(
    soft: FloatImage, rows: NDArray[np.float64], cols: NDArray[np.float64], radius_px: float
) -> NDArray[np.float64]:
    angles = np.linspace(0.0, 2.0 * math.pi, DIRECTIONS, endpoint=False)
    x = (cols[..., None] + radius_px * np.cos(angles)).astype(np.float32)
    y = (rows[..., None] + radius_px * np.sin(angles)).astype(np.float32)
    flat = (-1, DIRECTIONS)
    values = cv2.remap(
        soft,
        x.reshape(flat),
        y.reshape(flat),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(values.reshape(x.shape).mean(axis=-1), np.float64)
