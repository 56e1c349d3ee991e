"""The three pictures of a report: the field, where the network looked, the cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging import decode as decoding
from utils.imaging import overlay
from utils.reports.content import Figure

# About 300 dots an inch on a third of the page; small fields are enlarged, so that outlines and
# heat are drawn finer than the field's own pixels.
AREA_PX: Final = 640 * 640
LONGEST_SIDE_PX: Final = 1400
MOST_ENLARGED: Final = 3.0
# Three pictures and the fonts stay below 600 kB.
MOST_BYTES: Final = 165_000
QUALITIES: Final = (88, 80, 70, 58, 45, 30)
HEAT_ALPHA: Final = 0.4
LEGEND_STEPS: Final = 48
OUTLINE_RGB: Final = (214, 24, 32)


def field_figure(pixels: NDArray[np.uint8], caption: str) -> Figure:
    """Draw the field as it was read.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    """
    return _figure("Field", caption, _to_paper(pixels))


def heat_figure(
    pixels: NDArray[np.uint8], cam: NDArray[np.float32], *, ceiling: float, caption: str
) -> Figure:
    """Lay the heatmap of one class over the field, jet at `HEAT_ALPHA`, with its legend.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    cam : (h, w) ndarray of float32
        Grad-CAM of the class, not negative.
    ceiling : float
        Largest value over all classes: the one scale that they share.
    """
    paper = _to_paper(pixels)
    if ceiling > 0 and float(cam.max(initial=0.0)) > 0:
        height, width = paper.shape[:2]
        heat = overlay.heatmap_rgba(cam, ceiling=ceiling, shape=(height, width), colour_map="jet")
        paper = overlay.blend(paper, heat, HEAT_ALPHA)
    return _figure("Where the network looked", caption, paper, legend=_legend())


def cells_figure(
    pixels: NDArray[np.uint8], outlines: Sequence[Sequence[Sequence[float]]], caption: str
) -> Figure:
    """Draw the outlines of the nucleated cells over the field, in red.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    outlines : sequence of polygons
        Corners (x, y) in pixels of `pixels`.
    """
    paper = _to_paper(pixels)
    scale = paper.shape[1] / pixels.shape[1]
    # OpenCV draws with three binary digits after the point where it is told so.
    corners = [
        np.round((np.asarray(outline, dtype=np.float64) + 0.5) * scale * 8 - 4).astype(np.int32)
        for outline in outlines
        if len(outline) > 1
    ]
    drawn = paper.copy()
    cv2.polylines(drawn, corners, True, OUTLINE_RGB, 2, cv2.LINE_AA, 3)
    return _figure("Cells", caption, drawn)


def _to_paper(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    scale = min(
        float(np.sqrt(AREA_PX / (height * width))),
        LONGEST_SIDE_PX / max(height, width),
        MOST_ENLARGED,
    )
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=method), dtype=np.uint8)


def _figure(
    title: str,
    caption: str,
    paper: NDArray[np.uint8],
    *,
    legend: tuple[tuple[int, int, int], ...] = (),
) -> Figure:
    height, width = paper.shape[:2]
    words = ("no evidence", "most evidence") if legend else ("", "")
    return Figure(title, caption, _jpeg(paper), width, height, legend, *words)


def _jpeg(paper: NDArray[np.uint8]) -> bytes:
    """Encode at the best quality that keeps to the size; encoders add no metadata of their own."""
    for quality in QUALITIES:
        data = decoding.encode_jpeg(paper, quality=quality)
        if len(data) <= MOST_BYTES:
            break
    return data


def _legend() -> tuple[tuple[int, int, int], ...]:
    table = overlay.colour_map("jet")
    steps = np.linspace(0, len(table) - 1, LEGEND_STEPS).round().astype(int)
    return tuple((int(red), int(green), int(blue)) for red, green, blue in table[steps])
