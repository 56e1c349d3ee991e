"""Markers and flood: the two steps that part nuclei which touch."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.nuclei import FloatImage
from utils.imaging.outline import ellipse

LabelImage = NDArray[np.int32]


def seeds_of(distance: FloatImage, *, apart_px: float, least_px: float) -> LabelImage:
    """Mark the maxima of a distance map: the published chain's markers.

    Parameters
    ----------
    distance : (H, W) ndarray of float32
        Distance of each pixel of the mask from its edge; not modified.
    apart_px : float
        Least distance between two maxima.
    least_px : float
        Least distance from the edge at a maximum.

    Returns
    -------
    seeds : (H, W) ndarray of int32
        0 elsewhere, markers 1..n.
    """
    smooth = cv2.GaussianBlur(distance, (0, 0), max(0.5, 0.1 * apart_px))
    highest = cv2.dilate(smooth, ellipse(max(1, round(apart_px))))
    peaks = ((smooth >= highest - 1e-3) & (distance > least_px)).astype(np.uint8)
    return np.asarray(cv2.connectedComponents(peaks, connectivity=8)[1], np.int32)


def flood(distance: FloatImage, seeds: LabelImage) -> LabelImage:
    """Flood the inverted distance map from the seeds, one pixel of depth a step.

    `cv2.watershed` orders its queue by the difference between neighbours, not
    by altitude, and on a distance map lets one cell leak into the next.

    Parameters
    ----------
    distance : (H, W) ndarray of float32
    seeds : (H, W) ndarray of int32
        From `seeds_of`.

    Returns
    -------
    basins : (H, W) ndarray of int32
        0 where the distance is 0, else the number of a seed.
    """
    labels = seeds.astype(np.float32)  # cv2 dilates float32, not int32
    square = np.ones((3, 3), np.uint8)
    for depth in range(math.ceil(float(distance.max())) - 1, -1, -1):
        reachable = distance > depth
        for _ in range(2):
            grown = cv2.dilate(labels, square)
            np.copyto(labels, grown, where=reachable & (labels == 0))
    return np.asarray(labels, np.int32)
