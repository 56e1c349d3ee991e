"""Where the nuclei are: a map that is bright on stained chromatin and dark elsewhere."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

RGBImage = NDArray[np.uint8]
FloatImage = NDArray[np.float32]
BoolImage = NDArray[np.bool_]

# Optical density that maps to 255. Dense chromatin exceeds it; without the
# cap, a field of pyknotic and pale nuclei would be split between those two.
FULL_SCALE_DENSITY = 0.8
# Weight of the stronger of red and blue absorption (the weaker takes the
# rest). 0.7 is where both measures peaked: AUC of nucleus against the rest on
# `bccd` masks (0.987) and Otsu's separability on `all4` (0.84 to 0.87 in each
# class; 0.5 gives 0.80 to 0.82).
STRONGER_WEIGHT = 0.7
# Below this level (of 255; optical density 0.11) nothing counts as chromatin,
# whatever Otsu says: in a field without nuclei Otsu would split the red cells
# from the background. The palest nuclei of `all4` lie at about 50.
LEAST_NUCLEUS_LEVEL = 34.0
# Where nuclei are few, Otsu's first cut runs between background and pinkish red
# cells. If the foreground falls apart into a pale part and one more than
# 1 / 0.55 as dark, the pale part is taken for red cells and cut off: those of
# `bccd` lie at 30 to 50, the pale part of `all4`'s palest field at 54.
PALE_LEVEL = 51.0
PALE_SHARE = 0.55
# A channel's white point is not taken below this, so that a dark frame is not
# blown up into colour.
LEAST_WHITE = 64.0


def white_point(pixels: RGBImage, *, percentile: float = 90.0) -> NDArray[np.float64]:
    """Colour of the empty background between the cells.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    percentile : float
        Taken per channel, over about 96 x 96 samples.

    Returns
    -------
    white : (3,) ndarray of float64
        R, G, B from `LEAST_WHITE` to 255.
    """
    height, width = pixels.shape[:2]
    sample = pixels[:: max(1, height // 96), :: max(1, width // 96)].reshape(-1, 3)
    return np.maximum(np.percentile(sample, percentile, axis=0), LEAST_WHITE)


def optical_density(pixels: RGBImage) -> FloatImage:
    """Natural optical density of each channel against the background's colour.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.

    Returns
    -------
    density : (H, W, 3) ndarray of float32
        0 where a channel is as bright as the background.
    """
    return np.asarray(cv2.LUT(pixels, density_table(pixels)[None]), dtype=np.float32)


def density_table(pixels: RGBImage) -> FloatImage:
    """Density of each of 256 levels in each channel, (256, 3)."""
    # The offset of 4 keeps sensor noise in the darkest pixels from becoming density.
    levels = np.arange(256.0)[:, None] + 4.0
    white = white_point(pixels)[None, :] + 4.0
    return np.maximum(np.log(white / levels), 0.0).astype(np.float32)


def nucleus_map(pixels: RGBImage) -> FloatImage:
    """How much more a pixel absorbs green than red and blue.

    Azure and eosin leave nuclei violet or pink: they absorb green most. Red
    cells absorb blue most (brown fields) or red most (blue fields, as in the
    class `Pre` of `all4`). Densities are taken against the field's own
    background, so that a blue or yellow cast of the light cancels out.

    Saturation plus min(R, B) - G, without that balance, marks blue red cells
    as nuclei: on `all4`/Pre it outlines most of them.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified. A grey image gives 0 everywhere.

    Returns
    -------
    map : (H, W) ndarray of float32
        0 to 255; larger is more nuclear.

    References
    ----------
    .. [1] Ruifrok and Johnston (2001), Anal Quant Cytol Histol 23, 291-299
       (optical density of stains).
    """
    # Whole numbers, four to a level: a third of the time of float32 planes.
    table = np.round(density_table(pixels) * (4.0 * 255.0 / FULL_SCALE_DENSITY)).astype(np.int16)
    planes = cv2.split(pixels)
    red, green, blue = (
        cv2.LUT(plane, np.ascontiguousarray(table[:, channel]))
        for channel, plane in enumerate(planes)
    )
    others = cv2.addWeighted(
        cv2.max(red, blue), STRONGER_WEIGHT, cv2.min(red, blue), 1.0 - STRONGER_WEIGHT, 0.0
    )
    # Conversion to 8 bits clips at both ends.
    level = cv2.addWeighted(green, 0.25, others, -0.25, 0.0, dtype=cv2.CV_8U)
    return np.asarray(cv2.GaussianBlur(level, (0, 0), 1.0), dtype=np.float32)


def mask_of_map(level: FloatImage, *, least_level: float = LEAST_NUCLEUS_LEVEL) -> BoolImage:
    """Otsu's threshold on a nucleus map, with a floor.

    Parameters
    ----------
    level : (H, W) ndarray of float32
        From `nucleus_map`; not modified.
    least_level : float
        Floor of the threshold, 0 to 255.

    Returns
    -------
    mask : (H, W) ndarray of bool

    References
    ----------
    .. [1] Otsu (1979), doi:10.1109/TSMC.1979.4310076
    """
    grey = level.astype(np.uint8)
    threshold = max(_otsu(grey), least_level)
    above = grey[grey > threshold]
    if above.size:
        second = _otsu(above)
        pale, dark = above[above <= second], above[above > second]
        if pale.size and dark.size and pale.mean() < min(PALE_LEVEL, PALE_SHARE * dark.mean()):
            threshold = second
    return np.asarray(level > threshold)


def _otsu(grey: NDArray[np.uint8]) -> float:
    return float(cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0])


def nucleus_mask(pixels: RGBImage, *, least_level: float = LEAST_NUCLEUS_LEVEL) -> BoolImage:
    """Pixels of nuclei: Otsu on the nucleus map, with a floor.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    least_level : float
        Floor of the threshold, 0 to 255.

    Returns
    -------
    mask : (H, W) ndarray of bool
    """
    return mask_of_map(nucleus_map(pixels), least_level=least_level)
