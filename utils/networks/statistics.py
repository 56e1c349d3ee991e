"""Figures of merit, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Probabilities = NDArray[np.float64]
Targets = NDArray[np.int64]


def confusion_matrix(targets: Targets, calls: Targets, classes: int) -> NDArray[np.int64]:
    """Counts by true class (rows) and called class (columns).

    Returns
    -------
    counts : (classes, classes) ndarray of int64
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (targets, calls), 1)
    return counts


def figures(confusion: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro and weighted F1, Cohen's kappa, m-score.

    Parameters
    ----------
    confusion : (C, C) ndarray of int64
        Rows true, columns called.

    Returns
    -------
    figures : dict of str to float
        Balanced accuracy and macro F1 are over the classes that occur. The
        m-score is the sum of the logarithms of the F1, each at least 0.01 [1]_.

    References
    ----------
    .. [1] Gräbel et al. (2018), COMPAY workshop at MICCAI.
    """
    total = max(int(confusion.sum()), 1)
    support, called = confusion.sum(axis=1), confusion.sum(axis=0)
    right = np.diag(confusion)
    present = support > 0
    recall = right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + called, 1)
    accuracy = float(right.sum() / total)
    chance = float((support * called).sum() / total**2)
    return {
        "accuracy": accuracy,
        "balanced_accuracy": float(recall[present].mean()) if present.any() else 0.0,
        "macro_f1": float(f1[present].mean()) if present.any() else 0.0,
        "weighted_f1": float((f1 * support).sum() / total),
        "kappa": (accuracy - chance) / (1 - chance) if chance < 1 else 0.0,
        "m_score": float(np.log(np.maximum(f1[present], 0.01)).sum()),
    }


def by_class(confusion: NDArray[np.int64], codes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each class."""
    support, called, right = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)
    rows = {}
    for i, code in enumerate(codes):
        rows[code] = {
            "precision": float(right[i] / called[i]) if called[i] else 0.0,
            "recall": float(right[i] / support[i]) if support[i] else 0.0,
            "f1": float(2 * right[i] / (support[i] + called[i])) if support[i] + called[i] else 0.0,
            "support": int(support[i]),
        }
    return rows


def auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve by ranks; None where one side is empty."""
    n = int(positive.sum())
    rest = len(positive) - n
    if n == 0 or rest == 0:
        return None
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * rest))


def fpr_at_95(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """False-positive rate where 95 % of the positives are found; higher score is positive."""
    if not positive.any() or positive.all():
        return None
    threshold = np.quantile(scores[positive], 0.05)
    return float((scores[~positive] >= threshold).mean())


def calibration_bins(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], *, bins: int = 15
) -> list[dict[str, float]]:
    """Count, mean confidence and accuracy of equal-width bins."""
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for b in range(bins):
        inside = number == b
        if inside.any():
            rows.append(
                {
                    "count": int(inside.sum()),
                    "confidence": float(confidence[inside].mean()),
                    "accuracy": float(right[inside].mean()),
                }
            )
    return rows


def expected_calibration_error(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], *, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over 15 bins.

    References
    ----------
    .. [1] Guo et al. (2017), arXiv:1706.04599.
    """
    rows = calibration_bins(confidence, right, bins=bins)
    total = sum(row["count"] for row in rows)
    return sum(row["count"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / total


def brier(probabilities: Probabilities, targets: Targets) -> float:
    """Mean squared distance of the probabilities from the truth, summed over classes."""
    truth = np.eye(probabilities.shape[1])[targets]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def risk_coverage(
    confidence: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Error among the kept as more is kept, the surest first, and the area below.

    Returns
    -------
    coverage, risk : (N,) ndarray of float64
    area : float
    """
    order = np.argsort(-confidence, kind="stable")
    kept = np.arange(1, len(order) + 1)
    risk = np.cumsum(~right[order]) / kept
    return kept / len(order), risk, float(risk.mean())


def surest(confidence: NDArray[np.float64], right: NDArray[np.bool_], *, share: float) -> float:
    """Accuracy on the share of the pictures that a network is surest of.

    Parameters
    ----------
    confidence : (N,) ndarray of float64
    right : (N,) ndarray of bool
    share : float
        Coverage, above 0 and at most 1.
    """
    risk = risk_coverage(confidence, right)[1]
    return 1.0 - float(risk[max(1, round(share * len(risk))) - 1])


def group_bootstrap(
    groups: Sequence[int],
    measure: Callable[[NDArray[np.int64]], float],
    *,
    rounds: int = 1000,
    seed: int = 1,
) -> tuple[float, float]:
    """95 % interval of a figure, whole groups drawn with replacement.

    Parameters
    ----------
    groups : sequence of int
        Group of each example.
    measure : callable
        From positions of examples to the figure.
    rounds : int
    seed : int

    Returns
    -------
    low, high : float
    """
    rng = np.random.default_rng(seed)
    numbers = np.asarray(groups)
    members = [np.flatnonzero(numbers == g) for g in np.unique(numbers)]
    values = []
    for _ in range(rounds):
        drawn = rng.integers(0, len(members), len(members))
        values.append(measure(np.concatenate([members[i] for i in drawn])))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def summary(probabilities: Probabilities, targets: Targets, codes: Sequence[str]) -> dict[str, Any]:
    """All figures of one set of probabilities, in the words of `flask network evaluate`."""
    calls = probabilities.argmax(axis=1)
    confusion = confusion_matrix(targets, calls, len(codes))
    confidence, right = probabilities.max(axis=1), calls == targets
    per_class = by_class(confusion, codes)
    areas = {code: auroc(probabilities[:, i], targets == i) for i, code in enumerate(codes)}
    for code in codes:
        per_class[code]["auc"] = areas[code]  # type: ignore[assignment]
    return {
        "n": len(targets),
        **figures(confusion),
        "ece": expected_calibration_error(confidence, right),
        "brier": brier(probabilities, targets),
        "aurc": risk_coverage(confidence, right)[2],
        "accuracy_on_surest_80": surest(confidence, right, share=0.8),
        "auc": areas,
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }
