"""Temperature, abstention and out-of-distribution statistics; fitted on validation alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from utils.networks.classifier import softmax
from utils.networks.manifest import OutOfDistribution


def fit_temperature(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Temperature of the least negative log-likelihood.

    Parameters
    ----------
    logits : (N, C) ndarray of float32
    targets : (N,) ndarray of int64

    Returns
    -------
    temperature : float

    References
    ----------
    .. [1] Guo et al. (2017), arXiv:1706.04599.
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature))
        own = probabilities[np.arange(len(targets)), targets]
        return float(-np.log(np.maximum(own, 1e-12)).mean())

    fitted = minimize_scalar(loss, bounds=(np.log(0.2), np.log(5.0)), method="bounded")
    return float(np.exp(fitted.x))


def fit_abstention(
    kept: NDArray[np.float64],
    empty: NDArray[np.float64],
    *,
    abstained_on_empty: float = 0.99,
    least: float = 0.5,
    most_lost: float = 0.08,
) -> float:
    """Threshold of the highest probability under which the network abstains.

    Parameters
    ----------
    kept : (N,) ndarray of float64
        Highest probabilities of validation fields.
    empty : (M,) ndarray of float64
        Highest probabilities of the same with their cells removed.
    abstained_on_empty : float
        Share of `empty` that must fall below.
    least : float
        The threshold's floor: no class is named that is less likely than not.
    most_lost : float
        Share of `kept` that may be lost for it.

    Returns
    -------
    threshold : float
    """
    wanted = max(least, float(np.quantile(empty, abstained_on_empty)))
    return min(wanted, max(least, float(np.quantile(kept, most_lost))))


def fit_out_of_distribution(
    embeddings: NDArray[np.float32],
    held_out: NDArray[np.float32],
    *,
    dimensions: int = 24,
    within: float = 0.99,
) -> OutOfDistribution:
    """Mean, spread and main directions of the embeddings of the training domain.

    Parameters
    ----------
    embeddings : (N, D) ndarray of float32
        Training fields: the shape of the domain.
    held_out : (M, D) ndarray of float32
        Validation fields: where the threshold lies.
    dimensions : int
        Principal components kept.
    within : float
        Share of `held_out` that lies within the threshold.

    Returns
    -------
    statistics : OutOfDistribution

    References
    ----------
    .. [1] Lee et al. (2018), arXiv:1807.03888 (Mahalanobis distance).
    .. [2] Wang et al. (2022), arXiv:2203.10807 (distance off the main subspace).
    """
    mean, scale = embeddings.mean(axis=0), embeddings.std(axis=0)
    # Units that hardly move would otherwise dominate.
    scale = np.maximum(scale, 0.25 * float(np.median(scale)) + 1e-6)
    z = (embeddings - mean) / scale
    _, singular, directions = np.linalg.svd(z, full_matrices=False)
    components = directions[:dimensions]
    rest = z - (z @ components.T) @ components
    fitted = OutOfDistribution(
        mean=_rounded(mean),
        scale=_rounded(scale),
        components=[_rounded(row) for row in components],
        spread=_rounded(singular[:dimensions] / np.sqrt(len(z))),
        rest=float((rest**2).sum(axis=1).mean() / max(z.shape[1] - dimensions, 1)),
        threshold=1.0,
    )
    distances = [fitted.distance(row) for row in held_out]
    return fitted.model_copy(update={"threshold": float(np.quantile(distances, within))})


def _rounded(values: NDArray[np.floating]) -> list[float]:
    # Five digits keep the manifest small and change no distance that matters.
    return [float(f"{v:.5g}") for v in values]
