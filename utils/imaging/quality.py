"""Is the field fit to be read: focus, exposure, stain, and anything nucleated in it.

Every threshold stands beside what was measured with it on the 2,482 fields of
`all4`, the 266 of `bccd`, and both made worse on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.nuclei import BoolImage, RGBImage, optical_density, white_point

# Quality is judged at this size: blur that it does not show does not reach the
# network's 224 px either.
JUDGED_SIDE_PX = 512

# A field smaller than the network's input holds less than it was trained to read.
LEAST_SIDE_PX = 128
# Share of the edge contrast that a blur of 2 px takes away. Sharp: `all4` 0.24
# and more, `bccd` 0.20 and more. Blurred with sigma 2.5 (a quarter of a nucleus'
# radius) `all4` has a median of 0.14; with sigma 4 `bccd` has 0.08 at most.
LEAST_FOCUS = 0.15
# Brightness of the background between the cells, 0 to 255: 200 and more in both sets.
LEAST_WHITE_LEVEL = 120.0
# Share of pixels with all channels at the upper end: `all4` 0.41 at most.
LARGEST_CLIPPED_SHARE = 0.75
# Spread of the green channel between its 1st and 99th percentile: `all4` 60 and
# more, `bccd` 85 and more.
LEAST_CONTRAST = 25.0
# 99th percentile of the difference between the densest and the least dense channel.
LEAST_STAIN = 0.12
# Share of the field that is nucleus: `all4` and `bccd` 0.010 and more; `all4`
# with its nucleated cells inpainted away has a median of 0.001.
LEAST_NUCLEATED_SHARE = 0.002


@dataclass(frozen=True)
class Quality:
    """What a look at the whole field says.

    Attributes
    ----------
    focus : float
        Share of the edge contrast that a blur of 2 px takes away, 0 to 1;
        larger is sharper.
    brightness : float
        Of the background between the cells, 0 to 255.
    contrast : float
        Spread of the green channel, 0 to 255.
    saturation : float
        Strength of colour: difference of optical density between channels,
        99th percentile.
    nucleated_share : float
        Part of the field that is nucleus, 0 to 1.
    flags : tuple of str
        Among "blank", "too_small", "out_of_focus", "too_dark", "too_bright",
        "no_stain", "no_nucleated_cell".
    """

    focus: float
    brightness: float
    contrast: float
    saturation: float
    nucleated_share: float
    flags: tuple[str, ...]


def assess(pixels: RGBImage, nucleus_mask: BoolImage) -> Quality:
    """Judge a field.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    nucleus_mask : (h, w) ndarray of bool
        Nuclei, at any resolution; not modified.

    Returns
    -------
    quality : Quality

    References
    ----------
    .. [1] Crete et al. (2007), doi:10.1117/12.702790 (blur by comparison with
       a blurred copy).
    """
    small = _judged(pixels)
    green = np.ascontiguousarray(small[..., 1])
    low, median, high = np.percentile(green[::3, ::3], (1.0, 50.0, 99.0))
    # Colour and exposure need fewer samples than focus; a stride also avoids mixing colours.
    sample = np.ascontiguousarray(small[::3, ::3])
    red, middle, blue = cv2.split(optical_density(sample))
    colour = cv2.max(cv2.max(red, middle), blue) - cv2.min(cv2.min(red, middle), blue)
    measured = Quality(
        focus=_focus(green),
        brightness=float(white_point(sample).mean()),
        contrast=float(high - low),
        saturation=float(np.percentile(colour, 99.0)),
        nucleated_share=float(np.count_nonzero(nucleus_mask)) / max(1, nucleus_mask.size),
        flags=(),
    )
    clipped = float((sample >= 250).all(axis=2).mean())
    return _flagged(measured, clipped, min(pixels.shape[:2]), float(median))


def _flagged(measured: Quality, clipped: float, side_px: int, middle: float) -> Quality:
    blank = measured.contrast < LEAST_CONTRAST
    dark = middle < LEAST_WHITE_LEVEL / 2 if blank else measured.brightness < LEAST_WHITE_LEVEL
    flags = {
        "blank": blank,
        "too_small": side_px < LEAST_SIDE_PX,
        # A blank field has no edges to judge focus or stain by.
        "out_of_focus": not blank and measured.focus < LEAST_FOCUS,
        "too_dark": dark,
        "too_bright": not dark and clipped > LARGEST_CLIPPED_SHARE,
        "no_stain": not blank and measured.saturation < LEAST_STAIN,
        "no_nucleated_cell": measured.nucleated_share < LEAST_NUCLEATED_SHARE,
    }
    return Quality(
        measured.focus,
        measured.brightness,
        measured.contrast,
        measured.saturation,
        measured.nucleated_share,
        tuple(code for code, raised in flags.items() if raised),
    )


def _judged(pixels: RGBImage) -> RGBImage:
    height, width = pixels.shape[:2]
    scale = min(1.0, JUDGED_SIDE_PX / max(height, width))
    if scale == 1.0:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _focus(grey: NDArray[np.uint8]) -> float:
    """Smaller of both directions, so that motion blur shows too."""
    blurred = cv2.GaussianBlur(grey, (0, 0), 2.0)
    kept = []
    for along in (0, 1):
        shifted = (grey[1:], grey[:-1]) if along == 0 else (grey[:, 1:], grey[:, :-1])
        soft = (blurred[1:], blurred[:-1]) if along == 0 else (blurred[:, 1:], blurred[:, :-1])
        edges = float(cv2.norm(*shifted, cv2.NORM_L1))
        kept.append(float(cv2.norm(*soft, cv2.NORM_L1)) / edges if edges > 0.0 else 1.0)
    return max(0.0, 1.0 - max(kept))
