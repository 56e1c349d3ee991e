"""Did the network look at the cells? The share of each class's heat that lies on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from utils.imaging import overlay

if TYPE_CHECKING:
    from utils.imaging.watershed import Segmentation
    from utils.networks.classifier import Reading
    from utils.networks.manifest import Manifest

# A map of 7 x 7 values cannot follow the rim of a cell: even one that is exactly the cells has only
# 0.3 to 0.7 of its heat on them, so that a bare majority means nothing. What tells is whether heat
# is denser on cells than elsewhere. On a third of the validation fields of `all4` it is, 1.5 times
# in the median and 1.08 times at the 5th percentile; of maps exchanged between fields, 42 %
# fall below chance. Below this density relative to chance the network is said not to have looked
# at the cells.
LEAST_ENRICHMENT: Final = 1.05


@dataclass(frozen=True)
class Attention:
    """Where the heat lies, for each class.

    Attributes
    ----------
    heat_on_cells : dict of str to float or None
        Share of a class's heat that lies on nucleated cells, 0 to 1; None where the map is empty.
    by_chance : float
        Share of the field's area that the same cells cover: what an even heat would give.
    at_best : float
        What a map of the same resolution has that is exactly the cells.
    """

    heat_on_cells: dict[str, float | None]
    by_chance: float
    at_best: float

    def misses_cells(self, share: float) -> bool:
        """Whether the heat is no denser on cells than elsewhere."""
        return share < LEAST_ENRICHMENT * self.by_chance


def weigh_attention(reading: Reading, cells: Segmentation, manifest: Manifest) -> Attention:
    """Measure how much of each class's heat lies on nucleated cells."""
    grid = reading.cams.shape[2], reading.cams.shape[1]
    mask = (cells.labels > 0).astype(np.uint8) * np.uint8(255)
    exact = cv2.resize(mask, grid, interpolation=cv2.INTER_AREA).astype(np.float32)
    *heats, best = overlay.measure_heats([*reading.cams, exact], cells)
    shares: dict[str, float | None] = {
        label.code: None if heat is None else heat.share
        for label, heat in zip(manifest.classes, heats, strict=True)
    }
    if best is None:  # no cells: no share to compare with
        return Attention(shares, 0.0, 0.0)
    return Attention(shares, best.area_share, best.share)
