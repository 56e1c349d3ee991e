"""Heatmaps, cell outlines, and how much of the heat lies on cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.nuclei import FloatImage, RGBImage
from utils.imaging.watershed import Segmentation, full_size_labels

ColourMap = Literal["jet", "viridis", "cividis"]
RGBAImage = NDArray[np.uint8]

BOUNDARY_RED = (230, 0, 0)
# Reach of a cell past its nucleus, as a share of the shorter side: the
# cytoplasm of a leukemic cell in `all4` (6 of 224 px). Maps are 7 x 7, one of
# their cells is 14 % of a side: a sharper edge would mean nothing.
CELL_MARGIN = 6 / 224
# Side to which masks and maps are brought to be compared.
_COMPARED_PX = 224

# Every fifth of 256 colours, interpolated between: within LIMIT levels of the
# originals. viridis: van der Walt and Smith (2015), CC0. cividis: Nunez, Anderton
# and Renslow (2018), doi:10.1371/journal.pone.0199239.
_ANCHORS = {
    "viridis": (
        "44015446085c471063481769481d6f482475472a7a46307e453781433d844142873f48893d4e8a"
        "3a538b38598c355e8d33638d31688e2e6d8e2c718e2a768e297b8e27808e25848e23898e218e8d"
        "20928c1f978b1e9c891fa18821a58524aa8328ae802eb37c35b7793dbc7446c06f50c46a5ac864"
        "65cb5e70cf577cd25089d54895d840a2da37b0dd2fbddf26cae11fd8e219e5e419f1e51dfde725"
    ),
    "cividis": (
        "00224e002656002a5f002d68003070083370163770203a6f273e6e2e416d34456c3a486c3f4c6c"
        "444f6c49536c4e566c535a6d575d6d5c616e60646f656870696b716d6f727272747676767a7a78"
        "7e7d788381798885788d8878928c789690779b9476a09875a59c74aaa073afa471b5a86fbaac6d"
        "bfb06bc4b468c9b965cfbd62d4c15fdac65bdfca57e5cf52ead34cf0d846f6dd3ffce236fee838"
    ),
}


@dataclass(frozen=True)
class HeatOnCells:
    """How much of a map's heat lies on nucleated cells.

    Attributes
    ----------
    share : float
        Part of the heat inside cells, 0 to 1.
    area_share : float
        Part of the field that is cells: the share that an even map would have.
    enrichment : float
        `share` over `area_share`; 1 where the map ignores the cells, nan where
        there are none.
    """

    share: float
    area_share: float
    enrichment: float


def _jet() -> NDArray[np.uint8]:
    level = np.arange(256)[:, None] / 255.0
    ramps = np.clip(1.5 - np.abs(4.0 * level - np.array([[3.0, 2.0, 1.0]])), 0.0, 1.0)
    return np.asarray(np.round(ramps * 255.0), np.uint8)


def _from_anchors(hexadecimal: str) -> NDArray[np.uint8]:
    anchors = np.frombuffer(bytes.fromhex(hexadecimal), np.uint8).reshape(-1, 3)
    at = np.linspace(0.0, 255.0, len(anchors))
    columns = [np.interp(np.arange(256), at, anchors[:, channel]) for channel in range(3)]
    return np.asarray(np.round(np.stack(columns, axis=1)), np.uint8)


_TABLES = {"jet": _jet(), **{name: _from_anchors(text) for name, text in _ANCHORS.items()}}
for _table in _TABLES.values():
    _table.setflags(write=False)


def colour_map(name: str) -> NDArray[np.uint8]:
    """Colours of a heatmap.

    Parameters
    ----------
    name : {"jet", "viridis", "cividis"}
        The published one; two that are perceptually even and safe for the colour-blind.

    Returns
    -------
    table : (256, 3) ndarray of uint8
        RGB, read-only.

    Raises
    ------
    KeyError
        If there is no such map.
    """
    return _TABLES[name]


def heatmap_rgba(
    cam: FloatImage,
    *,
    ceiling: float,
    shape: tuple[int, int],
    colour_map: str = "jet",
) -> RGBAImage:
    """Colour a class activation map at the size of its field.

    Parameters
    ----------
    cam : (h, w) ndarray of float32
        Not negative; not modified. Values that are not finite count as 0.
    ceiling : float
        Value of the colour map's upper end: the largest of all classes' maps,
        so that weak evidence looks weak.
    shape : tuple of int
        Height and width of the field.
    colour_map : str
        See `colour_map`.

    Returns
    -------
    heat : (H, W, 4) ndarray of uint8
        RGBA, opaque; wholly transparent where there is no evidence at all.
    """
    height, width = shape
    heat = np.empty((height, width, 4), np.uint8)
    level = _finite(cam)
    if not (math.isfinite(ceiling) and ceiling > 0.0) or not level.any():
        heat[...] = 0
        return heat
    # Scaled before it is enlarged: bilinear steps between 7 x 7 values stay smooth.
    level = np.minimum(level, np.float32(ceiling)) * np.float32(255.0 / ceiling)
    scaled = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
    index = np.clip(scaled + 0.5, 0.0, 255.0).astype(np.uint8)
    table = _TABLES[colour_map][None]
    heat[..., :3] = cv2.LUT(cv2.merge([index, index, index]), table)
    heat[..., 3] = 255
    return heat


def blend(pixels: RGBImage, rgba: RGBAImage, alpha: float = 0.4) -> RGBImage:
    """Lay a coloured layer over a field.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    rgba : (H, W, 4) ndarray of uint8
        RGBA; not modified.
    alpha : float
        Opacity of the layer where its own is full, 0 to 1.

    Returns
    -------
    blended : (H, W, 3) ndarray of uint8
    """
    layer = np.ascontiguousarray(rgba[..., :3])
    mixed = cv2.addWeighted(pixels, 1.0 - alpha, layer, alpha, 0.0)
    if (rgba[..., 3] == 255).all():
        return np.asarray(mixed, np.uint8)
    own = rgba[..., 3:].astype(np.float32) / 255.0
    return np.asarray(np.round(pixels * (1.0 - own) + mixed * own), np.uint8)


def boundaries_rgba(segmentation: Segmentation, shape: tuple[int, int]) -> RGBAImage:
    """Outlines of the nucleated cells, to lay over the field.

    Parameters
    ----------
    segmentation : Segmentation
    shape : tuple of int
        Height and width of the field.

    Returns
    -------
    lines : (H, W, 4) ndarray of uint8
        Red on the outlines, transparent elsewhere. Lines grow with the field.
    """
    height, width = shape
    lines = np.zeros((height, width, 4), np.uint8)
    labels = full_size_labels(segmentation, shape).astype(np.float32)
    reach = max(1, round(min(shape) / 600))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    # Inside the cell, so that touching cells keep a line each.
    inner = (cv2.erode(labels, square) != labels) & (labels > 0.0)
    lines[inner] = (*BOUNDARY_RED, 255)
    return lines


def outlines(segmentation: Segmentation) -> list[list[tuple[int, int]]]:
    """Outlines of the nucleated cells as polygons.

    Parameters
    ----------
    segmentation : Segmentation

    Returns
    -------
    polygons : list of list of (x, y)
        One for each nucleus, in the order of `Segmentation.nuclei`; corners in
        pixels of the original image, at least three, not closed. They stay
        within 0.8 working pixels (or 0.6 % of the perimeter) of the outline.
    """
    scale = segmentation.scale
    labels = segmentation.labels
    polygons = []
    for nucleus in segmentation.nuclei:
        top, left, bottom, right = nucleus.box
        rows = slice(math.floor(top * scale), math.ceil(bottom * scale) + 1)
        cols = slice(math.floor(left * scale), math.ceil(right * scale) + 1)
        mask = (labels[rows, cols] == nucleus.label).astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        contour = max(found, key=len)
        tolerance = max(0.8, 0.006 * cv2.arcLength(contour, True))
        corners = cv2.approxPolyDP(contour, tolerance, True).reshape(-1, 2)
        if len(corners) < 3:
            polygons.append([(left, top), (right, top), (right, bottom), (left, bottom)])
            continue
        placed = (corners + (cols.start, rows.start) + 0.5) / scale - 0.5
        polygons.append([(round(float(x)), round(float(y))) for x, y in placed])
    return polygons


def measure_heat(cam: FloatImage, segmentation: Segmentation) -> HeatOnCells | None:
    """Share of a map's heat that lies on nucleated cells.

    Mask and map are compared at 224 px: the map has 7 x 7 values, which are
    enlarged bilinearly, as they are shown. Cells are taken with a margin for
    their cytoplasm (`CELL_MARGIN`).

    Parameters
    ----------
    cam : (h, w) ndarray of float32
        Not negative; not modified. Values that are not finite count as 0.
    segmentation : Segmentation

    Returns
    -------
    heat : HeatOnCells or None
        None where the map is empty.
    """
    return measure_heats([cam], segmentation)[0]


def measure_heats(
    cams: Sequence[FloatImage], segmentation: Segmentation
) -> list[HeatOnCells | None]:
    """Share of each map's heat that lies on nucleated cells; see `measure_heat`.

    Parameters
    ----------
    cams : sequence of (h, w) ndarray of float32
        Not negative; not modified.
    segmentation : Segmentation

    Returns
    -------
    heats : list of HeatOnCells or None
    """
    inside = _cell_share(segmentation)
    return [_heat_inside(cam, inside) for cam in cams]


def _heat_inside(cam: FloatImage, inside: FloatImage) -> HeatOnCells | None:
    level = _finite(cam)
    if not level.any():
        return None
    height, width = inside.shape
    # Only ratios matter; without this, the sum over huge values would overflow.
    enlarged = cv2.resize(level / level.max(), (width, height), interpolation=cv2.INTER_LINEAR)
    share = float(np.sum(enlarged * inside, dtype=np.float64) / np.sum(enlarged, dtype=np.float64))
    area_share = float(inside.mean(dtype=np.float64))
    enrichment = share / area_share if area_share > 0.0 else math.nan
    return HeatOnCells(min(share, 1.0), area_share, enrichment)


def _finite(cam: FloatImage) -> FloatImage:
    level = np.nan_to_num(np.asarray(cam, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return np.maximum(level, np.float32(0.0))


def _cell_share(segmentation: Segmentation) -> FloatImage:
    """Part of each pixel that is cell, at no more than 224 px a side."""
    mask = (segmentation.labels > 0).astype(np.uint8)
    height, width = mask.shape
    scale = min(1.0, _COMPARED_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    share = cv2.resize(mask * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    margin = max(1, round(CELL_MARGIN * min(share.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    return np.asarray(cv2.dilate(share, disc).astype(np.float32) / 255.0)
