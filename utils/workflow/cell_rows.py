"""From a cell's outline to what is kept of it: place, shape, measurements, picture, evidence."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging import decode, morphometry
from utils.imaging.crop import CellPlace
from utils.imaging.nuclei import white_point
from utils.imaging.outline import CellOutline
from utils.imaging.preprocess import PreprocessSpec, cut_cell
from utils.records.analyses import Analysis

# What a person sees of a cell: its own scale, with a little of what is around it.
CROP_PX: Final = 112
CONTEXT: Final = 1.5
_PICTURE: Final = PreprocessSpec(input_px=CROP_PX, cell_context=CONTEXT)
# The field's map is read at this many pixels a side.
_MAP_PX: Final = 224


class RowMaker:
    """Makes rows of `utils.records.Cell` for one field.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        The field as it was sent, RGB; not modified.
    analysis : Analysis
        With the maps of the network that read it.
    """

    def __init__(self, pixels: NDArray[np.uint8], analysis: Analysis) -> None:
        self.pixels = pixels
        self.white = white_point(pixels)
        self._heats = _heats(analysis)

    def row(self, outline: CellOutline, *, cut: bool = False) -> dict[str, Any]:
        """Columns of one cell, without its number and without what the cell network says.

        Parameters
        ----------
        outline : CellOutline
        cut : bool
            Whether the picture is known to cut its nucleus.
        """
        height, width = self.pixels.shape[:2]
        top, left, bottom, right = outline.box
        row_px, col_px = outline.centre_px
        body = outline.polygons(outline.cell)
        place = CellPlace(outline.centre_px, outline.diameter_px)
        crop = cut_cell(self.pixels, place, self.white, _PICTURE)
        return {
            "row_px": round(row_px, 1),
            "col_px": round(col_px, 1),
            "diameter_px": round(outline.diameter_px, 1),
            "box": [round(value, 1) for value in outline.box],
            "outline": [list(corner) for corner in (body[0] if body else [])],
            "nucleus": [[list(c) for c in p] for p in outline.polygons(outline.nucleus)],
            "touches_border": (
                cut or min(top, left) <= 0.5 or bottom >= height - 0.5 or right >= width - 0.5
            ),
            "measures": morphometry.measure(self.pixels, outline, white=self.white).to_dict(),
            "crop": decode.encode_jpeg(crop, quality=90),
            "field_evidence": self._evidence(outline),
        }

    def _evidence(self, outline: CellOutline) -> dict[str, float]:
        """Each class's map pooled over the cell: 1 is the field's mean."""
        height, width = self.pixels.shape[:2]
        mask = np.zeros((_MAP_PX, _MAP_PX), np.uint8)
        ratio = np.array([_MAP_PX / width, _MAP_PX / height])
        for corners in outline.polygons(outline.cell)[:1]:
            cv2.fillPoly(mask, [np.round(np.array(corners) * ratio).astype(np.int32)], 1)
        if not mask.any():
            return {}
        pooled = {code: float(heat[mask > 0].mean()) for code, heat in self._heats.items()}
        return {code: round(value, 3) for code, value in pooled.items()}


def _heats(analysis: Analysis) -> dict[str, NDArray[np.float32]]:
    """The field network's map of each class, enlarged, its mean 1; empty maps left out."""
    heats = {}
    for code, cam in zip(analysis.probabilities, analysis.cams, strict=True):
        grid = np.maximum(np.asarray(cam, dtype=np.float32), 0.0)
        heat = np.asarray(cv2.resize(grid, (_MAP_PX, _MAP_PX)), dtype=np.float32)
        if float(heat.mean()) > 0.0:
            heats[code] = heat / heat.mean()
    return heats
