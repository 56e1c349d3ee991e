"""Shape and texture of a mask: single numbers with a definition, nothing about cells' kinds."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.nuclei import BoolImage, FloatImage
from utils.imaging.scale import distance_map

# Lobes are counted where the cell's diameter is this many pixels.
LOBE_GRID_PX = 80
# A neck narrower than this share of the narrower lobe's width parts two lobes; a lobe is at
# least this share as wide as the widest one. Under the microscope a third is asked of the neck;
# an outline is blurred, though, and lobes overlap. On `wbc_masks` 0.75 leaves all 53 lymphocytes
# and 46 of 48 monocytes one lobe and gives four of five neutrophils more than one.
NECK, LEAST_LOBE = 0.75, 0.35
# Grey levels, and which of them is a nucleus' mean density.
LEVELS, MEAN_LEVEL = 32, 16


def circularity(mask: BoolImage) -> float:
    """Area against perimeter: 4 pi A / P^2, clipped at 1, which a disc reaches.

    Parameters
    ----------
    mask : (H, W) ndarray of bool
        Not empty; not modified.

    Returns
    -------
    circularity : float
        Above 0, at most 1.

    References
    ----------
    .. [1] Cox (1927), J. Paleontology 1, 179-183.
    """
    return min(1.0, 4.0 * math.pi * float(np.count_nonzero(mask)) / crofton_perimeter(mask) ** 2)


def crofton_perimeter(mask: BoolImage) -> float:
    """Length of a mask's outlines by Crofton's formula in four directions.

    Parameters
    ----------
    mask : (H, W) ndarray of bool
        Not modified.

    Returns
    -------
    perimeter : float
        Pixels; of all parts and holes together.

    References
    ----------
    .. [1] Legland, Kiêu and Devaux (2007), doi:10.5566/ias.v26.p83-92
    """
    padded = np.pad(mask, 1)
    straight = np.count_nonzero(padded[1:] != padded[:-1])
    straight += np.count_nonzero(padded[:, 1:] != padded[:, :-1])
    slanting = np.count_nonzero(padded[1:, 1:] != padded[:-1, :-1])
    slanting += np.count_nonzero(padded[1:, :-1] != padded[:-1, 1:])
    return math.pi / 8.0 * (float(straight) + float(slanting) / math.sqrt(2.0))


def solidity(mask: BoolImage) -> float:
    """Pixels of a mask over the pixels in the convex hull of their centres.

    Parameters
    ----------
    mask : (H, W) ndarray of bool
        Not empty; not modified.

    Returns
    -------
    solidity : float
        Above 0, at most 1: the hull's pixels are counted exactly, by Pick's theorem.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    ends = np.concatenate([np.stack([first, rows], 1), np.stack([last, rows], 1)])
    hull = cv2.convexHull(ends.astype(np.int32)).reshape(-1, 2).astype(np.int64)
    x, y = hull.T
    twice_area = abs(int(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)))
    on_edge = int(np.gcd.reduce(np.abs(np.roll(hull, -1, axis=0) - hull), axis=1).sum())
    return 2.0 * float(np.count_nonzero(mask)) / (twice_area + on_edge + 2)


def eccentricity(mask: BoolImage) -> float:
    """Eccentricity of the ellipse with a mask's second moments.

    Parameters
    ----------
    mask : (H, W) ndarray of bool
        Not empty; not modified.

    Returns
    -------
    eccentricity : float
        0 for a circle (or one pixel), 1 for a line.
    """
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    half = (moments["mu20"] + moments["mu02"]) / 2.0
    away = math.hypot((moments["mu20"] - moments["mu02"]) / 2.0, moments["mu11"])
    return math.sqrt(min(1.0, 2.0 * away / (half + away))) if half > 0.0 else 0.0


def count_lobes(nucleus: BoolImage, *, cell_diameter_px: float) -> int:
    """Count the lobes of a nucleus: wide places parted by narrow necks or by nothing at all.

    Lobes are the peaks of the inscribed radius (distance to the nucleus' edge). A peak counts
    where the way from it to any higher one passes a neck narrower than `NECK` of its own width
    (the h-maxima of the logarithm of the distance), or where there is no way. A round, an indented
    and an evenly curved nucleus (a band, a horseshoe, a ring) have one.

    Parameters
    ----------
    nucleus : (H, W) ndarray of bool
        Not modified.
    cell_diameter_px : float
        Of the whole cell, in pixels of `nucleus`; sets the grid on which lobes are counted.

    Returns
    -------
    lobes : int
        0 where `nucleus` is empty.

    References
    ----------
    .. [1] Soille (2004), Morphological Image Analysis, doi:10.1007/978-3-662-05088-0
    .. [2] Chan, Jiang, Chen, Tsai et al. (2010), doi:10.1186/1471-2105-11-558
    """
    if not nucleus.any():
        return 0
    heights, passes = _peaks(distance_map(_on_grid(nucleus, LOBE_GRID_PX / cell_diameter_px)))
    if not heights.size:  # finer than the grid
        return 1
    wide = heights >= LEAST_LOBE * heights.max()
    return int(np.count_nonzero(wide & (passes < NECK * heights)))


def _on_grid(nucleus: BoolImage, zoom: float) -> NDArray[np.uint8]:
    """The nucleus alone, resampled and without the steps of its pixels."""
    rows, cols = np.flatnonzero(nucleus.any(axis=1)), np.flatnonzero(nucleus.any(axis=0))
    part = np.pad(nucleus[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1], 2).astype(np.float32)
    size = (max(1, round(part.shape[1] * zoom)), max(1, round(part.shape[0] * zoom)))
    how = cv2.INTER_AREA if zoom < 1.0 else cv2.INTER_LINEAR
    soft = np.asarray(cv2.resize(part, size, interpolation=how))
    return np.pad(cv2.GaussianBlur(soft, (0, 0), 1.0) > 0.5, 1).astype(np.uint8)


def _peaks(height: FloatImage) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Height of each peak, and of the highest pass from it to a higher peak; 0 where there is none.

    Every pixel belongs to the peak to which the steepest way leads; two peaks are as connected as
    the highest pair of neighbours between them, and the highest passes are followed first.
    """
    width = height.shape[1]
    flat = height.ravel().astype(np.float64)
    rank = np.empty(flat.size, np.int64)  # equal heights in an order: no way runs in a ring
    rank[np.argsort(flat, kind="stable")] = np.arange(flat.size)
    inside = np.flatnonzero(flat > 0.0)
    onward = np.array([1, width - 1, width, width + 1])
    around = inside[:, None] + np.concatenate([[0], onward, -onward])
    top = np.arange(flat.size)
    top[inside] = around[np.arange(inside.size), rank[around].argmax(axis=1)]
    while not np.array_equal(top, top[top]):
        top = top[top]
    here, there = np.repeat(inside, onward.size), (inside[:, None] + onward).ravel()
    border = (flat[there] > 0.0) & (top[here] != top[there])
    here, there = here[border], there[border]
    level = np.minimum(flat[here], flat[there])
    order = np.argsort(-level, kind="stable")
    pairs = np.sort(np.stack([top[here], top[there]], axis=1)[order], axis=1)
    _, highest = np.unique(pairs, axis=0, return_index=True)
    highest.sort()
    return _passes(flat, np.unique(top[inside]), pairs[highest], level[order][highest])


def _passes(
    flat: NDArray[np.float64],
    tops: NDArray[np.int64],
    pairs: NDArray[np.int64],
    levels: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Join peaks over their passes, the highest first; the lower peak of two ends there."""
    leads = {top: top for top in tops.tolist()}
    ends = dict.fromkeys(leads, 0.0)

    def lead(top: int) -> int:
        while leads[top] != top:
            top = leads[top]
        return top

    for (one, other), level in zip(pairs.tolist(), levels.tolist(), strict=True):
        low, high = sorted((lead(one), lead(other)), key=lambda top: float(flat[top]))
        if low != high:
            leads[low], ends[low] = high, level
    return flat[tops], np.array([ends[top] for top in tops.tolist()])


def relative_levels(density: FloatImage, mask: BoolImage) -> NDArray[np.uint8]:
    """Grey levels of a density in shares of its mean within a mask.

    Parameters
    ----------
    density : (H, W) ndarray of float32
        Not modified.
    mask : (H, W) ndarray of bool
        Not empty; not modified.

    Returns
    -------
    levels : (H, W) ndarray of uint8
        `MEAN_LEVEL` is the mean; 0 to `LEVELS` - 1, clipped.
    """
    mean = float(density[mask].mean(dtype=np.float64))
    shares = density * np.float32(MEAN_LEVEL / mean) if mean > 0.0 else np.zeros_like(density)
    return np.clip(np.rint(shares), 0, LEVELS - 1).astype(np.uint8)


def entropy(levels: NDArray[np.uint8], mask: BoolImage) -> float:
    """Shannon's entropy of the levels within a mask, bits.

    Parameters
    ----------
    levels : (H, W) ndarray of uint8
        Not modified.
    mask : (H, W) ndarray of bool
        Not empty; not modified.

    Returns
    -------
    entropy : float
        From 0.

    References
    ----------
    .. [1] Shannon (1948), doi:10.1002/j.1538-7305.1948.tb01338.x
    """
    counts = np.bincount(levels[mask])
    share = counts[counts > 0] / counts.sum()
    return float(abs(np.sum(share * np.log2(share))))


def glcm_contrast(
    levels: NDArray[np.uint8], mask: BoolImage, *, distance_px: float
) -> float | None:
    """Contrast of the grey level co-occurrence matrix of the pixels within a mask.

    The mean of (i - j)^2 over the pairs of pixels of which both lie in the mask, which is the
    contrast of their matrix; mean over the directions 0, 45, 90 and 135 degrees. In each
    direction the contrast is interpolated between whole steps, which are longer (by the root of
    2) on the slant.

    Parameters
    ----------
    levels : (H, W) ndarray of uint8
        Not modified.
    mask : (H, W) ndarray of bool
        Not modified.
    distance_px : float
        From one pixel of a pair to the other; at least one step is taken.

    Returns
    -------
    contrast : float or None
        Squared levels; None where the mask holds no such pair.

    References
    ----------
    .. [1] Haralick, Shanmugam and Dinstein (1973), doi:10.1109/TSMC.1973.4309314
    """
    slant = distance_px / math.sqrt(2.0)
    ways = ((0, 1, distance_px), (1, 1, slant), (1, 0, distance_px), (1, -1, slant))
    found = [_contrast_along(levels, mask, *way) for way in ways]
    known = [contrast for contrast in found if contrast is not None]
    return float(np.mean(known)) if known else None


def _contrast_along(
    levels: NDArray[np.uint8], mask: BoolImage, down: int, right: int, steps: float
) -> float | None:
    """Contrast of pixels that lie so many steps of a direction apart."""
    whole = max(1, math.floor(steps))
    near = _contrast_at(levels, mask, down * whole, right * whole)
    if near is None or steps <= whole:
        return near
    far = _contrast_at(levels, mask, down * (whole + 1), right * (whole + 1))
    return near if far is None else near + (steps - whole) * (far - near)


def _contrast_at(levels: NDArray[np.uint8], mask: BoolImage, down: int, right: int) -> float | None:
    height, width = mask.shape
    one = np.s_[: max(0, height - down), max(0, -right) : max(0, min(width, width - right))]
    other = np.s_[down:, max(0, right) : max(0, min(width, width + right))]
    both = mask[one] & mask[other]
    if not both.any():
        return None
    return float(np.mean(np.square(levels[one][both].astype(np.int32) - levels[other][both])))


def granularity(density: FloatImage, mask: BoolImage, *, sigma_px: float) -> float | None:
    """Standard deviation of a density about its local mean, both within a mask alone.

    Parameters
    ----------
    density : (H, W) ndarray of float32
        Not modified.
    mask : (H, W) ndarray of bool
        Not modified.
    sigma_px : float
        Of the Gaussian window of the local mean.

    Returns
    -------
    granularity : float or None
        Density; None where the mask is empty.

    References
    ----------
    .. [1] Knutsson and Westin (1993), doi:10.1109/CVPR.1993.341081
    """
    if not mask.any():
        return None
    weight = mask.astype(np.float32)
    sigma = max(0.5, sigma_px)
    total = np.asarray(cv2.GaussianBlur(density * weight, (0, 0), sigma))
    amount = np.asarray(cv2.GaussianBlur(weight, (0, 0), sigma))
    return float(np.std(density[mask] - total[mask] / amount[mask], dtype=np.float64))
