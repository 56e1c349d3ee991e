"""One cell's outline: its body and, inside it, its nucleus."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.nuclei import BoolImage, FloatImage

# Optical densities are compared in this many steps.
LEVELS = 128
# Share of the cell's radius that is taken off its rim before levels are read:
# the rim is blurred with the background.
RIM = 0.08
# A piece of nucleus is kept from this share of the largest piece on; a hole is
# filled up to this share of the cell.
LEAST_PIECE, LARGEST_HOLE = 0.12, 0.03


@dataclass(frozen=True)
class CellOutline:
    """One nucleated cell in a window of its field.

    Attributes
    ----------
    top, left : float
        Where the window begins, pixels of the original.
    zoom : float
        Window pixels per original pixel.
    cell : (h, w) ndarray of bool
        The whole cell.
    nucleus : (h, w) ndarray of bool
        Its nucleus; within `cell`.
    """

    top: float
    left: float
    zoom: float
    cell: BoolImage
    nucleus: BoolImage

    @property
    def cell_area_px(self) -> float:
        """Area of the cell, pixels of the original."""
        return float(np.count_nonzero(self.cell)) / self.zoom**2

    @property
    def nucleus_area_px(self) -> float:
        """Area of the nucleus, pixels of the original."""
        return float(np.count_nonzero(self.nucleus)) / self.zoom**2

    @property
    def nc_ratio(self) -> float:
        """Area of the nucleus over the area of the whole cell, 0 to 1."""
        return self.nucleus_area_px / self.cell_area_px if self.cell.any() else 0.0

    @property
    def diameter_px(self) -> float:
        """Diameter of the circle with the cell's area, pixels of the original."""
        return 2.0 * math.sqrt(self.cell_area_px / math.pi)

    @property
    def centre_px(self) -> tuple[float, float]:
        """Row and column of the cell's centre of mass, pixels of the original."""
        rows, cols = np.nonzero(self.cell)
        return (
            self.top + (float(rows.mean()) + 0.5) / self.zoom - 0.5,
            self.left + (float(cols.mean()) + 0.5) / self.zoom - 0.5,
        )

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Top, left, bottom, right of the cell, pixels of the original; the ends exclusive."""
        rows, cols = np.flatnonzero(self.cell.any(axis=1)), np.flatnonzero(self.cell.any(axis=0))
        return (
            self.top + float(rows[0]) / self.zoom,
            self.left + float(cols[0]) / self.zoom,
            self.top + float(rows[-1] + 1) / self.zoom,
            self.left + float(cols[-1] + 1) / self.zoom,
        )

    def polygons(self, mask: BoolImage) -> list[list[tuple[float, float]]]:
        """Outlines of a mask of the window.

        Parameters
        ----------
        mask : (h, w) ndarray of bool
            `cell` or `nucleus`.

        Returns
        -------
        polygons : list of list of (x, y)
            One for each piece, the largest first; corners in pixels of the original,
            at least three, not closed.
        """
        found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        drawn = []
        for contour in sorted(found, key=len, reverse=True):
            corners = cv2.approxPolyDP(contour, 0.7, True).reshape(-1, 2)
            if len(corners) < 3:
                continue
            placed = (corners + 0.5) / self.zoom - 0.5 + (self.left, self.top)
            drawn.append([(round(float(x), 1), round(float(y), 1)) for x, y in placed])
        return drawn

    def place(self, mask: BoolImage, shape: tuple[int, int]) -> BoolImage:
        """Bring a mask of the window to the size of the field.

        Parameters
        ----------
        mask : (h, w) ndarray of bool
            `cell` or `nucleus`.
        shape : tuple of int
            Height and width of the field.

        Returns
        -------
        placed : (H, W) ndarray of bool
        """
        matrix = np.array(
            [
                [1 / self.zoom, 0, self.left + 0.5 / self.zoom - 0.5],
                [0, 1 / self.zoom, self.top + 0.5 / self.zoom - 0.5],
            ]
        )
        grown = cv2.warpAffine(mask.astype(np.float32), matrix, (shape[1], shape[0]))
        return np.asarray(grown > 0.5)


def nucleus_in(cell: BoolImage, green: FloatImage) -> BoolImage:
    """Find the nucleus inside a cell: the darker of three levels of green density.

    Chromatin absorbs green most in every Romanowsky stain. Three levels and not
    two, because a cell shows its rim, its cytoplasm and its nucleus.

    Parameters
    ----------
    cell : (H, W) ndarray of bool
        Not modified.
    green : (H, W) ndarray of float32
        Optical density of the green channel, not modified.

    Returns
    -------
    nucleus : (H, W) ndarray of bool
        Never empty where `cell` is not.

    References
    ----------
    .. [1] Liao, Chen and Chung (2001), A fast algorithm for multilevel thresholding,
       J. Inf. Sci. Eng. 17, 713-727.
    """
    if not cell.any():
        return np.zeros_like(cell)
    radius = math.sqrt(np.count_nonzero(cell) / math.pi)
    core = _erode(cell, max(1, round(RIM * radius)))
    smooth = cv2.GaussianBlur(green, (0, 0), max(0.6, 0.03 * radius))
    values = smooth[core if core.any() else cell]
    low, high = np.percentile(values, (1, 99))
    if high - low < 1e-3:
        return cell.copy()
    scaled = np.clip((smooth - low) / (high - low) * (LEVELS - 1), 0, LEVELS - 1)
    steps = scaled.astype(np.uint8)
    histogram = np.bincount(steps[core if core.any() else cell], minlength=LEVELS)
    nucleus = cell & (steps > _lower_of_two_thresholds(histogram.astype(np.float64)))
    return _tidy(np.asarray(nucleus), cell)


def _lower_of_two_thresholds(histogram: NDArray[np.float64]) -> int:
    """Lower threshold of Otsu's criterion for three classes."""
    weight = np.concatenate([[0.0], np.cumsum(histogram)])
    moment = np.concatenate([[0.0], np.cumsum(histogram * np.arange(len(histogram)))])
    # between[i, j]: contribution of levels i up to j - 1 as one class.
    amount = weight[None, :] - weight[:, None]
    total = moment[None, :] - moment[:, None]
    between = np.where(amount > 0, total**2 / np.maximum(amount, 1e-12), 0.0)
    count = len(histogram)
    # First class 0..a, second a+1..b, third b+1..; a < b.
    first = between[0, 1:count]
    score = first[:, None] + between[1:count, 1:count] + between[1:count, count][None, :]
    score[np.tril_indices(count - 1)] = -1.0
    return int(np.unravel_index(int(score.argmax()), score.shape)[0])


def _tidy(nucleus: BoolImage, cell: BoolImage) -> BoolImage:
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(nucleus.astype(np.uint8))
    if count > 2:
        areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
        areas[0] = 0.0
        nucleus = np.asarray((areas >= LEAST_PIECE * areas.max())[pieces])
    return fill_holes(nucleus, LARGEST_HOLE * np.count_nonzero(cell))


def fill_holes(mask: BoolImage, largest_px: float = math.inf) -> BoolImage:
    """Fill the holes of a mask that are not larger than an area.

    Parameters
    ----------
    mask : (H, W) ndarray of bool
        Not modified.
    largest_px : float
        Largest area of a hole that is filled.

    Returns
    -------
    filled : (H, W) ndarray of bool
    """
    padded = cv2.copyMakeBorder((~mask).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    _, holes, stats, _ = cv2.connectedComponentsWithStats(padded, connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] <= largest_px
    fill[0] = fill[holes[0, 0]] = False
    return np.asarray(mask | fill[holes[1:-1, 1:-1]])


def _erode(mask: BoolImage, radius_px: int) -> BoolImage:
    disc = ellipse(radius_px)
    return np.asarray(
        cv2.erode(mask.astype(np.uint8), disc, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
    )


def ellipse(radius_px: int) -> NDArray[np.uint8]:
    """Disc for morphology, (2 r + 1, 2 r + 1)."""
    side = 2 * radius_px + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
