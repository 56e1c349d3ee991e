"""Controls that stand beside every network: what can be had without looking at cells."""

from __future__ import annotations

import importlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from utils.imaging.preprocess import hide_scale_bar

Targets = NDArray[np.int64]


def colour_numbers(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean and standard deviation of R, G and B.

    Returns
    -------
    numbers : (6,) ndarray of float64
    """
    covered = hide_scale_bar(pixels).reshape(-1, 3).astype(np.float64)
    return np.concatenate([covered.mean(axis=0), covered.std(axis=0)])


def majority_accuracy(targets: Targets, known: Targets | None = None) -> float:
    """Accuracy of always naming the most frequent class of `known` (or of `targets`)."""
    counted = targets if known is None else known
    return float((targets == np.bincount(counted).argmax()).mean())


def nearest_colours_accuracy(
    numbers: NDArray[np.float64],
    targets: Targets,
    known_numbers: NDArray[np.float64],
    known_targets: Targets,
    *,
    neighbours: int = 5,
) -> float:
    """Accuracy of the nearest neighbours on six colour numbers.

    Parameters
    ----------
    numbers : (N, 6) ndarray of float64
        Of the pictures to call.
    targets : (N,) ndarray of int64
    known_numbers : (M, 6) ndarray of float64
        Of the training pictures.
    known_targets : (M,) ndarray of int64
    neighbours : int

    Returns
    -------
    accuracy : float
    """
    mean, spread = known_numbers.mean(axis=0), known_numbers.std(axis=0) + 1e-9
    tree = cKDTree((known_numbers - mean) / spread)
    _, nearest = tree.query((numbers - mean) / spread, k=min(neighbours, len(known_targets)))
    votes = known_targets[np.asarray(nearest).reshape(len(numbers), -1)]
    calls = np.array([np.bincount(row).argmax() for row in votes])
    return float((calls == targets).mean())


def published_watershed(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The published chain to the letter: grey, Otsu, opening, distance, maxima as seeds, flood.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.

    Returns
    -------
    labels : (H, W) ndarray of int32
        0 is background.
    """
    # scikit-image takes a second to import and is needed for this control alone.
    feature: Any = importlib.import_module("skimage.feature")
    segmentation: Any = importlib.import_module("skimage.segmentation")
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    _, mask = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    distance = ndimage.distance_transform_edt(mask)
    peaks = feature.peak_local_max(distance, min_distance=10, labels=mask > 0)
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(segmentation.watershed(-distance, markers, mask=mask > 0), np.int32)


def plain_nucleus_map(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Saturation plus min(R, B) - G, the upper of two Otsu thresholds, regions of a least area.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.

    Returns
    -------
    labels : (H, W) ndarray of int32
        0 is background.
    """
    filters: Any = importlib.import_module("skimage.filters")
    saturation = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[..., 1].astype(np.float32)
    red, green, blue = (pixels[..., i].astype(np.float32) for i in range(3))
    level = cv2.GaussianBlur(saturation + np.minimum(red, blue) - green, (0, 0), 1.5)
    if np.unique(level).size < 3:
        return np.zeros(level.shape, np.int32)
    mask = (level > filters.threshold_multiotsu(level, 3)[1]).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(closed)
    keep = stats[:, cv2.CC_STAT_AREA] >= 0.004 * mask.size
    keep[0] = False
    renumber = np.cumsum(keep) * keep
    return np.asarray(renumber[regions] * (mask > 0), np.int32)
