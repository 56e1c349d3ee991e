"""Controls that stand beside every network: what can be had without looking at cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
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
