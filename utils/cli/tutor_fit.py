"""Fit the weights of the tutor's learned refusal; the only part of it that needs scikit-learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from utils.tutor import learned

_LEAST_WEIGHT: Final = 0.02


def fit_refusal(asked: Sequence[set[str]], refused: Sequence[bool]) -> dict[str, Any]:
    """Fit the weights; needs scikit-learn.

    Parameters
    ----------
    asked : sequence of set of str
        Features of each question.
    refused : sequence of bool

    Returns
    -------
    table : dict
        ``bias`` and ``weights``.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    counts = Counter(name for names in asked for name in names)
    known = {name for name, count in counts.items() if count > 1}
    maker = DictVectorizer()
    inputs = maker.fit_transform([learned.vector(sorted(names), known) for names in asked])
    fitted = LogisticRegression(C=10, max_iter=1000, class_weight="balanced")
    fitted.fit(inputs, list(refused))
    weights = zip(maker.get_feature_names_out(), fitted.coef_[0], strict=True)
    return {
        "bias": round(float(fitted.intercept_[0]), 3),
        "weights": {name: round(float(w), 3) for name, w in weights if abs(w) >= _LEAST_WEIGHT},
    }
