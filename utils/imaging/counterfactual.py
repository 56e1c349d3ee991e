"""What a field would look like with another stain, another background, or no cells.

The transformations of the evidence: a network that reads cells keeps its answer
when stain or background change, and has none left when the cells are gone.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.nuclei import nucleus_mask

RGBImage = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Fill = Literal["telea", "navier_stokes", "median"]

# At 224 px a leukemic cell is about 25 px wide and its cytoplasm reaches some
# 3 px past the nucleus map; the rest of the margin takes the blurred rim along.
CELL_MARGIN = 6 / 224
FEATHER = 2 / 224
LEAST_CELL_AREA = 40 / 224**2


def cell_mask(pixels: RGBImage, *, margin: float = CELL_MARGIN) -> Mask:
    """Nucleated cells with a margin for their cytoplasm.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    margin : float
        Dilation as a share of the shorter side.

    Returns
    -------
    mask : (H, W) ndarray of bool
    """
    nuclei = nucleus_mask(pixels).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(nuclei, connectivity=8)
    keep = np.zeros(count, dtype=np.uint8)
    keep[1:] = stats[1:, cv2.CC_STAT_AREA] >= LEAST_CELL_AREA * nuclei.size
    radius = max(1, round(margin * min(nuclei.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(keep[labels], disc) > 0)


def remove_cells(pixels: RGBImage, mask: Mask, *, fill: Fill = "telea") -> RGBImage:
    """Inpaint the masked cells away.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    mask : (H, W) ndarray of bool
        What to remove.
    fill : {"telea", "navier_stokes", "median"}
        ``median`` puts the median colour of the rest there, feathered.

    Returns
    -------
    emptied : (H, W, 3) ndarray of uint8

    References
    ----------
    .. [1] Telea (2004), doi:10.1080/10867651.2004.10487596
    """
    if not mask.any():
        return pixels.copy()
    if fill == "median":
        rest = pixels[~mask] if not mask.all() else pixels.reshape(-1, 3)
        flat = np.empty_like(pixels)
        flat[:] = np.median(rest, axis=0)
        return _composite(flat, pixels, mask)
    method = cv2.INPAINT_TELEA if fill == "telea" else cv2.INPAINT_NS
    return np.asarray(cv2.inpaint(pixels, mask.astype(np.uint8), 3, method), dtype=np.uint8)


def transplant_cells(cells: RGBImage, mask: Mask, background: RGBImage) -> RGBImage:
    """Put the masked cells of one field on the emptied background of another.

    Parameters
    ----------
    cells : (H, W, 3) ndarray of uint8
        Field that gives the cells; not modified.
    mask : (H, W) ndarray of bool
        Its cells.
    background : (H, W, 3) ndarray of uint8
        Field without cells, the same size; not modified.

    Returns
    -------
    composite : (H, W, 3) ndarray of uint8
    """
    return _composite(cells, background, mask)


def _composite(front: RGBImage, back: RGBImage, mask: Mask) -> RGBImage:
    sigma = max(0.5, FEATHER * min(mask.shape))
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)[..., None]
    blended = alpha * front + (1.0 - alpha) * back
    return np.asarray(blended + 0.5, dtype=np.uint8)


def stain_statistics(pixels: RGBImage) -> NDArray[np.float32]:
    """Mean and standard deviation of L, a and b.

    Returns
    -------
    statistics : (2, 3) ndarray of float32
    """
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB))
    return np.stack([mean[:, 0], deviation[:, 0]]).astype(np.float32)


def match_stain(pixels: RGBImage, statistics: NDArray[np.float32]) -> RGBImage:
    """Give a field the Lab mean and standard deviation of another.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    statistics : (2, 3) ndarray of float32
        As `stain_statistics` gives them.

    Returns
    -------
    matched : (H, W, 3) ndarray of uint8

    References
    ----------
    .. [1] Reinhard et al. (2001), doi:10.1109/38.946629
    """
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    own = stain_statistics(pixels)
    gain = statistics[1] / np.maximum(own[1], 1e-3)
    levels = np.arange(256, dtype=np.float32)[:, None]
    table = np.clip((levels - own[0]) * gain + statistics[0] + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.LUT(lab, table[None]), cv2.COLOR_LAB2RGB), dtype=np.uint8)


# Optical densities of haematoxylin and eosin (Ruifrok and Johnston 2001); the
# third row is orthogonal to both.
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]], dtype=np.float64)
_STAINS = np.vstack([_STAINS, np.cross(_STAINS[0], _STAINS[1])])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_DENSITY = (-np.log((np.arange(256) + 1.0) / 256.0)).astype(np.float32)


def scale_stains(
    pixels: RGBImage, *, haematoxylin: float, eosin: float, residual: float = 1.0
) -> RGBImage:
    """Scale the optical densities of the two dyes.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    haematoxylin, eosin, residual : float
        Factors; 1 leaves the dye as it is.

    Returns
    -------
    scaled : (H, W, 3) ndarray of uint8

    References
    ----------
    .. [1] Ruifrok and Johnston (2001), Anal. Quant. Cytol. Histol. 23, 291-299.
    """
    factors = np.diag([haematoxylin, eosin, residual])
    mixing = (np.linalg.inv(_STAINS) @ factors @ _STAINS).astype(np.float32)
    density = cv2.transform(_DENSITY[pixels], mixing.T)
    return np.asarray(np.clip(256.0 * cv2.exp(-density) - 0.5, 0, 255), dtype=np.uint8)


def mix_densities(pixels: RGBImage, mixing: NDArray[np.float32]) -> RGBImage:
    """Let the optical density of each channel be a mixture of all three.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    mixing : (3, 3) ndarray of float32
        Row r gives the new channel r; the identity leaves the picture as it is.

    Returns
    -------
    mixed : (H, W, 3) ndarray of uint8
    """
    density = cv2.transform(_DENSITY[pixels], mixing)
    return np.asarray(np.clip(256.0 * cv2.exp(-density) - 0.5, 0, 255), dtype=np.uint8)


def scale_densities(pixels: RGBImage, factors: NDArray[np.float32]) -> RGBImage:
    """Scale the optical density of each colour channel.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    factors : (3,) ndarray of float32

    Returns
    -------
    scaled : (H, W, 3) ndarray of uint8
    """
    table = 256.0 * np.exp(-_DENSITY[:, None] * factors[None, :]) - 1.0
    table = np.clip(table + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table[None]), dtype=np.uint8)


def grey(pixels: RGBImage) -> RGBImage:
    """Take the colour away; three equal channels.

    Returns
    -------
    grey : (H, W, 3) ndarray of uint8
    """
    single = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(single, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def jpeg(pixels: RGBImage, quality: int) -> RGBImage:
    """Compress and decompress.

    Returns
    -------
    degraded : (H, W, 3) ndarray of uint8
    """
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    back = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.asarray(cv2.cvtColor(back, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def blur(pixels: RGBImage, sigma_px: float) -> RGBImage:
    """Gaussian blur.

    Returns
    -------
    blurred : (H, W, 3) ndarray of uint8
    """
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma_px), dtype=np.uint8)
