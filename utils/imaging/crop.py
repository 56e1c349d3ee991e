"""A place of a picture cut out, its light and its stain brought to one measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.nuclei import RGBImage

# Level that the field's background is brought to in each channel: the stain is
# read against the glass, whatever the light.
WHITE_LEVEL = 240.0
# Offset in the logarithm of densities: keeps noise of the darkest pixels out.
OFFSET = 4.0
# The stain is read against the nucleus within these factors; a channel in which nuclei hardly
# absorb says nothing of the stain.
LEAST_FACTOR, LARGEST_FACTOR, LEAST_DENSITY = 0.4, 2.5, 0.12

# A mask as the corners of its pieces, (x, y) in pixels of the original.
Polygons = Sequence[Sequence[Sequence[float]]]


@dataclass(frozen=True)
class CellPlace:
    """Where one cell stands in its picture.

    Attributes
    ----------
    centre_px : tuple of float
        Row and column.
    diameter_px : float
    nucleus : list of list of (x, y)
        Corners of its pieces, pixels; empty where no nucleus is known.
    """

    centre_px: tuple[float, float]
    diameter_px: float
    nucleus: Polygons = field(default=())


def balance_white(pixels: RGBImage, white: NDArray[np.float64]) -> RGBImage:
    """Bring the background's colour to one light grey.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    white : (3,) ndarray of float64
        Colour of the empty background, from `utils.imaging.nuclei.white_point`.

    Returns
    -------
    balanced : (H, W, 3) ndarray of uint8
    """
    table = np.arange(256.0)[:, None] * (WHITE_LEVEL / np.asarray(white, np.float64))[None]
    return np.asarray(cv2.LUT(pixels, np.clip(table + 0.5, 0, 255).astype(np.uint8)[None]))


def cut_square(
    pixels: RGBImage,
    centre_px: tuple[float, float],
    width_px: float,
    *,
    side_px: int,
    angle_deg: float = 0.0,
    mirrored: bool = False,
) -> RGBImage:
    """Cut a square around a point and bring it to a size.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    centre_px : tuple of float
        Row and column.
    width_px : float
        Width of the square in the picture.
    side_px : int
        Width of the result.
    angle_deg : float
        Turned by, about the centre.
    mirrored : bool

    Returns
    -------
    square : (side_px, side_px, 3) ndarray of uint8
        Beyond the picture: as light as the background.
    """
    reach = math.ceil(width_px * (0.5 if angle_deg == 0.0 else 0.75)) + 2
    top, left = math.floor(centre_px[0]) - reach, math.floor(centre_px[1]) - reach
    window = _window(pixels, top, left, 2 * reach + 1)
    row, col = centre_px[0] - top, centre_px[1] - left
    zoom = side_px / width_px
    if zoom < 0.6:
        # Bilinear sampling alone would skip pixels, and chromatin with them.
        smaller = max(1, round(window.shape[0] * zoom))
        ratio = smaller / window.shape[0]
        window = np.asarray(cv2.resize(window, (smaller, smaller), interpolation=cv2.INTER_AREA))
        row, col, zoom = (row + 0.5) * ratio - 0.5, (col + 0.5) * ratio - 0.5, zoom / ratio
    matrix = np.asarray(cv2.getRotationMatrix2D((col, row), angle_deg, zoom), np.float64)
    matrix[:, 2] += (side_px - 1) / 2 - np.array([col, row])
    if mirrored:
        matrix[0] *= -1.0
        matrix[0, 2] += side_px - 1
    level = int(WHITE_LEVEL)
    return np.asarray(
        cv2.warpAffine(
            window,
            matrix,
            (side_px, side_px),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(level, level, level),
        ),
        dtype=np.uint8,
    )


def anchor_stain(
    balanced: RGBImage,
    nucleus: Polygons,
    reference: tuple[float, float, float],
    *,
    corner: tuple[int, int] = (0, 0),
) -> RGBImage:
    """Scale the density of each channel until the nucleus has a given colour.

    Chromatin binds the dyes of every Romanowsky stain; its colour tells the stain, the light
    and the camera apart from the cell, as a white card does for light.

    Parameters
    ----------
    balanced : (H, W, 3) ndarray of uint8
        RGB from `balance_white`; not modified.
    nucleus : list of list of (x, y)
        Corners of its pieces, pixels of the picture; unchanged without any.
    reference : tuple of float
        Mean natural optical density of a nucleus in R, G and B.
    corner : tuple of int
        Row and column of the picture that `balanced` begins at.

    Returns
    -------
    anchored : (H, W, 3) ndarray of uint8

    References
    ----------
    .. [1] von Kries (1902): adaptation by one factor a channel.
    .. [2] Macenko et al. (2009), doi:10.1109/ISBI.2009.5193250 (stains compared as densities).
    """
    mask = np.zeros(balanced.shape[:2], np.uint8)
    for piece in nucleus:
        places = np.array(piece, np.float64) - (corner[1], corner[0])
        cv2.fillPoly(mask, [np.round(places).astype(np.int32)], 1)
    inside = balanced[mask > 0]
    if not len(inside):
        return balanced
    levels = np.minimum(np.arange(256.0), WHITE_LEVEL) + OFFSET
    density = np.log((WHITE_LEVEL + OFFSET) / levels)
    mean = density[inside].mean(axis=0)
    factors = np.clip(
        np.asarray(reference) / np.maximum(mean, LEAST_DENSITY), LEAST_FACTOR, LARGEST_FACTOR
    )
    table = (WHITE_LEVEL + OFFSET) * np.exp(-density[:, None] * factors[None]) - OFFSET
    # What is lighter than the glass stays as light.
    table += np.maximum(np.arange(256.0) - WHITE_LEVEL, 0.0)[:, None]
    return np.asarray(cv2.LUT(balanced, np.clip(table + 0.5, 0, 255).astype(np.uint8)[None]))


def _window(pixels: RGBImage, top: int, left: int, side: int) -> RGBImage:
    height, width = pixels.shape[:2]
    rows = slice(max(0, top), min(height, top + side))
    cols = slice(max(0, left), min(width, left + side))
    inside = pixels[rows, cols]
    if inside.shape[:2] == (side, side):
        return inside
    window = np.full((side, side, 3), int(WHITE_LEVEL), dtype=np.uint8)
    window[
        rows.start - top : rows.start - top + inside.shape[0],
        cols.start - left : cols.start - left + inside.shape[1],
    ] = inside
    return window
