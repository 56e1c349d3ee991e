"""Where the cell network looked on one cell: computed when somebody asks, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utils.errors import NetworkUnavailable
from utils.imaging.nuclei import white_point
from utils.imaging.preprocess import cut_cell
from utils.records import Analysis, Cell
from utils.settings import Settings
from utils.workflow import read
from utils.workflow.cell_rows import CONTEXT


def has_maps(cell: Cell, settings: Settings) -> bool:
    """Whether the very network that read a cell is still installed."""
    from utils.networks.registry import GRAPH

    if cell.network_name is None or cell.network_version is None:
        return False
    folder = settings.models_dir / cell.network_name / cell.network_version
    return (folder / GRAPH).is_file()


def maps_of(
    analysis: Analysis, cell: Cell, settings: Settings
) -> tuple[NDArray[np.float32], float]:
    """Grad-CAM of every class on the crop that the network read.

    Parameters
    ----------
    analysis : Analysis
        The cell's field.
    cell : Cell
    settings : Settings

    Returns
    -------
    cams : (C, h, w) ndarray of float32
        In the order of the cell's probabilities; not negative.
    share : float
        Part of the maps' width, in their middle, that the cell's stored picture shows: the
        network may have read more of the surroundings.

    Raises
    ------
    NetworkUnavailable
        If the network that read the cell is not installed any more.
    """
    if not has_maps(cell, settings):
        raise NetworkUnavailable("The network that read this cell is not installed any more.")
    assert cell.network_name is not None
    assert cell.network_version is not None
    classifier = read.loaded(settings.models_dir, cell.network_name, cell.network_version)
    spec = classifier.manifest.preprocess
    context = spec.cell_context or 0.0
    if context < CONTEXT:
        raise NetworkUnavailable("This network reads less of the cell than is shown.")
    pixels = read.original(analysis, settings)
    crop = cut_cell(pixels, read.place_of_row(cell), white_point(pixels), spec)
    return classifier.forward(crop).cams, CONTEXT / context
