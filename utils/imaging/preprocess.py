"""From decoded pixels to what the network sees; training and serving share it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.counterfactual import grey
from utils.imaging.crop import CellPlace, anchor_stain, balance_white, cut_square
from utils.imaging.nuclei import white_point
from utils.imaging.outline import CellOutline
from utils.imaging.tile import outline_middle_cell

RGBImage = NDArray[np.uint8]

# The bars burned into the published fields reach 14 % of the width and 13 % of
# the height into the bottom-right corner; their style differs by class.
SCALE_BAR_WIDTH = 0.20
SCALE_BAR_HEIGHT = 0.14


@dataclass(frozen=True)
class PreprocessSpec:
    """How a field is prepared; stored in a network's manifest.

    Parameters
    ----------
    input_px : int
        Side of the square network input, pixels.
    clahe_clip : float
        Clip limit of the contrast-limited equalisation.
    clahe_tiles : int
        Tiles along each axis.
    hide_scale_bar : bool
        Whether the bottom-right corner is covered.
    cell_context : float, optional
        For a network that reads single cells: width of the crop in diameters of
        the cell in the middle; the fields above but `input_px` are not used then.
    nucleus_density : tuple of float, optional
        For such a network: the mean density of nuclei in R, G and B that every cell's
        stain is brought to; None leaves the stain as it is.
    grey : bool
        For such a network: whether it reads cells without their colour.
    """

    input_px: int = 224
    clahe_clip: float = 2.0
    clahe_tiles: int = 8
    hide_scale_bar: bool = True
    cell_context: float | None = None
    nucleus_density: tuple[float, float, float] | None = None
    grey: bool = False


@dataclass(frozen=True)
class Prepared:
    """A prepared field.

    Attributes
    ----------
    clahe : (H, W, 3) ndarray of uint8
        Full-size RGB after equalisation.
    network_input : (input_px, input_px, 3) ndarray of uint8
        RGB, not yet normalised: the normalisation belongs to the weights.
    """

    clahe: RGBImage
    network_input: RGBImage


def hide_scale_bar(pixels: RGBImage) -> RGBImage:
    """Cover the bottom-right corner with the median colour of the field.

    The corner is always covered, bar or no bar: a cover that appeared only
    where a bar was found would itself tell the classes apart.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.

    Returns
    -------
    covered : (H, W, 3) ndarray of uint8
    """
    height, width = pixels.shape[:2]
    top = height - max(1, round(height * SCALE_BAR_HEIGHT))
    left = width - max(1, round(width * SCALE_BAR_WIDTH))
    # A median over at most about 64 x 64 samples: exact enough for a cover and
    # independent of the image's size.
    sample = pixels[: max(top, 1) : max(1, height // 64), :: max(1, width // 64)]
    covered = pixels.copy()
    covered[top:, left:] = np.median(sample.reshape(-1, 3), axis=0).astype(np.uint8)
    return covered


def apply_clahe(pixels: RGBImage, *, clip: float = 2.0, tiles: int = 8) -> RGBImage:
    """Equalise local contrast on L of Lab, so that hue stays.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    clip : float
        Clip limit, relative to a flat histogram.
    tiles : int
        Tiles along each axis.

    Returns
    -------
    equalised : (H, W, 3) ndarray of uint8

    References
    ----------
    .. [1] Zuiderveld (1994), Graphics Gems IV, 474-485.
    """
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lightness = cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles)).apply(
        np.ascontiguousarray(lab[..., 0])
    )
    lab[..., 0] = lightness
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)


def resize_square(pixels: RGBImage, side_px: int) -> RGBImage:
    """Scale to a square, bilinear; by area where the image shrinks twofold or more.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
    side_px : int

    Returns
    -------
    scaled : (side_px, side_px, 3) ndarray of uint8
    """
    height, width = pixels.shape[:2]
    if (height, width) == (side_px, side_px):
        return pixels
    # Plain bilinear sampling aliases the chromatin away when it skips pixels.
    shrinks = min(height, width) >= 2 * side_px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (side_px, side_px), interpolation=how), dtype=np.uint8)


def prepare(pixels: RGBImage, spec: PreprocessSpec) -> Prepared:
    """Hide the scale bar, equalise, scale; or cut the cell in the middle out.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    spec : PreprocessSpec
        From the network's manifest.

    Returns
    -------
    prepared : Prepared
    """
    if spec.cell_context is not None:
        crop = cut_cell(pixels, middle_cell(pixels, spec.cell_context), None, spec)
        return Prepared(clahe=pixels, network_input=crop)
    covered = hide_scale_bar(pixels) if spec.hide_scale_bar else pixels
    clahe = apply_clahe(covered, clip=spec.clahe_clip, tiles=spec.clahe_tiles)
    return Prepared(clahe=clahe, network_input=resize_square(clahe, spec.input_px))


def middle_cell(pixels: RGBImage, context: float) -> CellPlace:
    """Find the cell of a tile; where none stands out, the whole of the tile is shown.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    context : float
        Width of a crop in diameters of its cell.

    Returns
    -------
    cell : CellPlace
    """
    outline = outline_middle_cell(pixels)
    if outline is not None:
        return place_of(outline)
    height, width = pixels.shape[:2]
    return CellPlace(((height - 1) / 2, (width - 1) / 2), min(height, width) / context)


def place_of(outline: CellOutline) -> CellPlace:
    """Where an outlined cell stands, as a crop of it needs."""
    nucleus = outline.polygons(outline.nucleus)
    return CellPlace(outline.centre_px, outline.diameter_px, nucleus)


def cut_cell(
    pixels: RGBImage, cell: CellPlace, white: NDArray[np.float64] | None, spec: PreprocessSpec
) -> RGBImage:
    """Cut a cell out at its own scale, against a balanced background.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    cell : CellPlace
    white : (3,) ndarray of float64, optional
        Colour of the field's background; taken from `pixels` where absent.
    spec : PreprocessSpec
        As a network that reads single cells sees it, or as a person is shown it.

    Returns
    -------
    crop : (input_px, input_px, 3) ndarray of uint8
    """
    white = white_point(pixels) if white is None else white
    width_px = (spec.cell_context or 1.0) * cell.diameter_px
    reach = math.ceil(width_px / 2) + 3
    row, col = math.floor(cell.centre_px[0]), math.floor(cell.centre_px[1])
    top, left = max(0, row - reach), max(0, col - reach)
    near = pixels[top : max(top + 1, row + reach), left : max(left + 1, col + reach)]
    balanced = balance_white(np.ascontiguousarray(near), white)
    if spec.nucleus_density is not None:
        balanced = anchor_stain(balanced, cell.nucleus, spec.nucleus_density, corner=(top, left))
    centre_px = cell.centre_px[0] - top, cell.centre_px[1] - left
    crop = cut_square(balanced, centre_px, width_px, side_px=spec.input_px)
    return grey(crop) if spec.grey else crop
