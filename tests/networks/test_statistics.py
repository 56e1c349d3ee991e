"""Figures of merit against scikit-learn and against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from utils.networks import statistics
from utils.networks.calibration import (
    fit_abstention,
    fit_out_of_distribution,
    fit_temperature,
)
from utils.networks.classifier import softmax

RNG = np.random.default_rng(5)
TARGETS = RNG.integers(0, 4, 300)
PROBABILITIES = softmax(RNG.normal(size=(300, 4)) + 2.0 * np.eye(4)[TARGETS])
CALLS = PROBABILITIES.argmax(axis=1)


def test_figures_agree_with_scikit_learn() -> None:
    found = statistics.figures(statistics.confusion_matrix(TARGETS, CALLS, 4))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(TARGETS, CALLS))
    balanced = metrics.balanced_accuracy_score(TARGETS, CALLS)
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(TARGETS, CALLS, average="macro"))
    weighted = metrics.f1_score(TARGETS, CALLS, average="weighted")
    assert found["weighted_f1"] == pytest.approx(weighted)
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(TARGETS, CALLS))


def test_auroc_agrees_with_scikit_learn_with_ties() -> None:
    scores = np.round(PROBABILITIES[:, 1], 1)
    expected = metrics.roc_auc_score(TARGETS == 1, scores)
    assert statistics.auroc(scores, TARGETS == 1) == pytest.approx(expected)
    assert statistics.auroc(scores, np.zeros(300, bool)) is None


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    # Bin of 0.95: gap 0.20 on 4 of 6; bin of 0.55: gap 0.05 on 2 of 6.
    expected = (4 * 0.20 + 2 * 0.05) / 6
    assert statistics.expected_calibration_error(confidence, right) == pytest.approx(expected)


def test_fpr_at_95_by_hand() -> None:
    positive = np.array([True] * 20 + [False] * 4)
    scores = np.array([*range(10, 30), 0, 9, 11, 40], dtype=float)
    assert statistics.fpr_at_95(scores, positive) == pytest.approx(0.5)


def test_the_surest_are_judged_alone() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, False])
    assert statistics.surest(confidence, right, share=0.4) == 1.0
    assert statistics.surest(confidence, right, share=0.8) == 0.75
    assert statistics.surest(confidence, right, share=1.0) == pytest.approx(right.mean())


def test_risk_coverage_ends_at_the_error_rate() -> None:
    right = CALLS == TARGETS
    coverage, risk, area = statistics.risk_coverage(PROBABILITIES.max(axis=1), right)
    assert coverage[-1] == 1.0
    assert risk[-1] == pytest.approx(1 - right.mean())
    assert 0 < area < risk[-1]


def test_bootstrap_draws_whole_groups() -> None:
    # Two groups, one all right and one all wrong: the figure is 0, 0.5 or 1.
    right = np.array([1.0] * 10 + [0.0] * 10)
    low, high = statistics.group_bootstrap([0] * 10 + [1] * 10, lambda rows: right[rows].mean())
    assert (low, high) == (0.0, 1.0)
    low, high = statistics.group_bootstrap(list(range(20)), lambda rows: right[rows].mean())
    assert 0.2 < low < 0.5 < high < 0.8


def test_temperature_undoes_a_known_sharpening() -> None:
    logits = RNG.normal(size=(4000, 4)) * 1.5
    targets = np.array([RNG.choice(4, p=row) for row in softmax(logits)])
    found = fit_temperature((logits * 3.0).astype(np.float32), targets)
    assert found == pytest.approx(3.0, rel=0.1)


def test_abstention_takes_the_empty_fields_and_spares_the_rest() -> None:
    kept, empty = np.linspace(0.6, 1.0, 200), np.linspace(0.3, 0.62, 200)
    threshold = fit_abstention(kept, empty)
    assert (empty < threshold).mean() >= 0.95
    assert (kept < threshold).mean() <= 0.08 + 1e-9
    assert fit_abstention(kept, np.full(200, 0.26)) == 0.5


def test_distance_grows_along_and_across_the_domain() -> None:
    known = RNG.normal(size=(500, 40)) @ RNG.normal(size=(40, 60))
    fitted = fit_out_of_distribution(known.astype(np.float32), known[:200].astype(np.float32))
    inside = [fitted.distance(row) for row in known.astype(np.float32)]
    outside = [fitted.distance(row) for row in (known * 6).astype(np.float32)[:50]]
    across = [fitted.distance(row) for row in (known + 30 * RNG.normal(size=60))[:50]]
    assert np.median(inside) == pytest.approx(1.0, abs=0.35)
    assert np.mean(np.array(inside) > fitted.threshold) < 0.05
    assert min(outside) > 0.5 * fitted.threshold
    assert np.mean(np.array(outside) > fitted.threshold) > 0.8
    assert np.mean(np.array(across) > fitted.threshold) > 0.9
