"""The body of one cell: the best closed line around its nucleus."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.nuclei import BoolImage, RGBImage
from utils.imaging.outline import fill_holes

# The body reaches at most this far past the nucleus, in radii of the circle
# with the nucleus' area.
REACH = 1.2
# Width of the change from glass to cytoplasm, in shares of the level between.
SOFT = 1.0
# Rays from the nucleus, and their steps in pixels of the window; neighbouring
# rays may differ by `BEND` steps, at a price.
RAYS, STEP_PX, BEND, STIFF = 48, 1.0, 2, 0.03
# Weights of the fall of stain, of any change of colour, and of glass that is included.
FALL, CHANGE, GLASS = 1.0, 0.1, 2.0
PALEST, DARKEST = 0.04, 0.15
# Density that glass does not exceed, and by how many deviations of its noise
# the palest cytoplasm does.
GLASS_AT_MOST, ABOVE_GLASS = 0.2, 1.0


def body_around(
    density: NDArray[np.float32],
    own: NDArray[np.uint8],
    others: NDArray[np.uint8],
    radius: float,
    level: float,
) -> BoolImage:
    """The region around a nucleus up to its cell's edge: the best closed line about it.

    The stain is read along rays from the nucleus. On each ray the edge is where the stain
    falls or changes most, not before the nucleus ends and not past a neighbour; neighbouring rays
    may differ by little, so that a red cell that touches does not come along.

    Parameters
    ----------
    density : (H, W, 3) ndarray of float32
        Optical density of each channel; not modified.
    own, others : (H, W) ndarray of uint8
        1 on this nucleus, and on those of other cells.
    radius : float
        Of the circle with the nucleus' area, pixels.
    level : float
        Density that parts the palest cytoplasm from the glass, of `glass_level`.

    Returns
    -------
    body : (H, W) ndarray of bool
        Holds the nucleus.
    """
    rows, cols = np.nonzero(own)
    centre = float(cols.mean()), float(rows.mean())
    furthest = float(np.hypot(cols - centre[0], rows - centre[1]).max()) + 1.0
    reach = REACH * radius
    steps = math.ceil((furthest + reach) / STEP_PX) + 2
    size, limit = (steps, RAYS), steps * STEP_PX
    flags = cv2.WARP_FILL_OUTLIERS | cv2.INTER_LINEAR

    def rays(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.warpPolar(plane, size, centre, limit, flags), np.float32)

    smooth = cv2.GaussianBlur(density, (0, 0), 0.8)
    along = rays(np.ascontiguousarray(smooth))
    mine = rays(own.astype(np.float32)) > 0.5
    theirs = rays(others.astype(np.float32)) > 0.5
    inside = np.clip((along.max(axis=2) / level - 1.0) / SOFT + 0.5, 0.0, 1.0)
    price = _price(inside, along, mine, theirs, reach / STEP_PX)
    line = _closed_line(price)
    angles = np.arange(RAYS) * (2.0 * math.pi / RAYS)
    distance = (line + 0.5) * STEP_PX
    corners = np.stack(
        [centre[0] + distance * np.cos(angles), centre[1] + distance * np.sin(angles)], axis=1
    )
    body = own.copy()
    cv2.fillPoly(body, [np.round(corners * 16).astype(np.int32)], 1, shift=4)
    return fill_holes((body > 0) & (others == 0))


def glass_level(pixels: RGBImage, table: NDArray[np.float32]) -> float:
    """Density that parts the palest cytoplasm of a field from its glass.

    The glass is the commonest of the pale densities; what is paler than it tells its noise.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    table : (256, 3) ndarray of float32
        Density of each level of each channel, from `density_table`.

    Returns
    -------
    level : float
        From `PALEST` to `DARKEST`.
    """
    height, width = pixels.shape[:2]
    step = max(1, min(height, width) // 200)
    sample = cv2.GaussianBlur(np.ascontiguousarray(pixels[::step, ::step]), (0, 0), 0.8)
    stain = np.asarray(cv2.LUT(sample, table[None])).max(axis=2)
    pale = stain[stain < GLASS_AT_MOST]
    if pale.size < 20:
        return PALEST
    counts, edges = np.histogram(pale, bins=50)
    mode = float(edges[int(np.convolve(counts, np.ones(3), "same").argmax())] + edges[1] / 2)
    paler = pale[pale <= mode]
    noise = float(np.sqrt(np.mean((paler - mode) ** 2))) if paler.size else 0.0
    return float(np.clip(mode + ABOVE_GLASS * noise + 0.015, PALEST, DARKEST))


def _price(
    inside: NDArray[np.float32],
    along: NDArray[np.float32],
    mine: BoolImage,
    theirs: BoolImage,
    reach: float,
) -> NDArray[np.float64]:
    """What it costs to draw the cell's edge at each step of each ray."""
    count = inside.shape[1]
    fall = np.zeros(inside.shape)
    fall[:, 1:-1] = inside[:, :-2] - inside[:, 2:]
    change = np.zeros(inside.shape)
    change[:, 1:-1] = np.linalg.norm(along[:, 2:] - along[:, :-2], axis=2)
    step = np.arange(count)[None]
    ends = np.where(mine, step, -1).max(axis=1, keepdims=True)
    ends = np.maximum(ends, 0)
    price = -FALL * fall - CHANGE * np.minimum(change, 0.3) / 0.3
    glass = np.cumsum(np.where(step > ends, 1.0 - inside, 0.0), axis=1)
    price += GLASS * glass / max(reach, 1.0)
    forbidden = (step < ends) | (step > ends + reach)
    beyond = np.cumsum(theirs & (step > ends), axis=1) > 0
    return np.where(forbidden, 50.0 + np.abs(step - ends), np.where(beyond, 20.0 + step, price))


def _closed_line(price: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cheapest closed line of one step a ray; neighbours differ by at most `BEND` steps."""
    rays, steps = price.shape
    turns = np.concatenate([price, price])
    total = turns[0].copy()
    came = np.empty((2 * rays, steps), np.int64)
    shifts = range(-BEND, BEND + 1)
    padded = np.full(steps + 2 * BEND, np.inf)
    positions = np.arange(steps)
    for ray in range(1, 2 * rays):
        padded[BEND : BEND + steps] = total
        options = np.stack([padded[BEND + k : BEND + k + steps] + STIFF * k * k for k in shifts])
        best = options.argmin(axis=0)
        came[ray] = positions + best - BEND
        total = options[best, positions] + turns[ray]
    line = np.empty(2 * rays)
    place = int(total.argmin())
    for ray in range(2 * rays - 1, -1, -1):
        line[ray] = place
        if ray:
            place = int(came[ray, place])
    # Twice round: the middle turn has forgotten where the line began.
    half = rays // 2
    middle = line[half : half + rays]
    return np.asarray(np.roll(middle, half))
