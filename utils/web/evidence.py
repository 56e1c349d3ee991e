"""What a network's metrics say, laid out for its page.

Pure: mappings in, frozen rows out. A version measured by an older program may lack keys; a value
that is not there, or is not a finite number, reads as None and is shown as "not measured", never
as zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utils.workflow.proportions import wilson

Metrics = Mapping[str, Any]
Interval = tuple[float, float]

# The tests of EVIDENCE.md, protocol 5, in the order of reading: key, title, what was done.
TESTS: tuple[tuple[str, str, str], ...] = (
    ("plain", "Plain", "the test images as they are"),
    ("stain_swap", "Stain swap", "colour mean and spread (Lab) of an image of another class"),
    ("background_swap", "Background swap", "its cells on the background of another class"),
    ("grey", "Grey", "without colour"),
    ("stain_jitter", "Stain jitter", "haematoxylin and eosin densities × 0.7 to 1.3"),
    ("blur", "Blur", "out of focus"),
    ("jpeg30", "JPEG quality 30", "compressed hard"),
    ("half_size", "Half the magnification", "every picture at half its size"),
    ("double_size", "Twice the magnification", "every picture at twice its size"),
    ("cells_removed", "Cells removed", "nucleated cells painted away: nothing is left to read"),
)
# Asked of networks that read single cells alone.
OF_CELLS = frozenset({"half_size", "double_size"})
CONTROLS: tuple[tuple[str, str], ...] = (
    ("majority", "Majority class"),
    ("colour_5nn", "5-NN on six colour numbers"),
    ("linear_probe", "Linear probe, ImageNet features"),
)
FIGURES: tuple[tuple[str, str, str], ...] = (
    ("roc", "ROC", "Sensitivity against false-positive rate, one class against the rest."),
    ("pr", "Precision–recall", "Precision against recall, one class against the rest."),
    ("reliability", "Reliability", "How often a calibrated probability was right."),
    ("risk_coverage", "Risk and coverage", "Errors among the kept, as more is left unclassified."),
    ("curves", "Learning curves", "Loss and accuracy by epoch, the best epoch marked."),
    ("confusion", "Confusion matrix", "True class by row, class named by column."),
)
SUMMARY: tuple[tuple[str, str, bool], ...] = (  # key, title, whether it is a share of images
    ("accuracy", "Accuracy", True),
    ("balanced_accuracy", "Balanced accuracy", True),
    ("macro_f1", "Macro F1", False),
    ("weighted_f1", "Weighted F1", False),
    ("kappa", "Cohen’s κ", False),
    ("ece", "Calibration error (ECE)", False),
    ("brier", "Brier score", False),
    ("aurc", "Area under risk–coverage", False),
    ("accuracy_on_surest_80", "Accuracy on the surest 80 %", True),
    ("m_score", "m-score", False),
    ("coverage", "Coverage", True),
    ("accuracy_on_kept", "Accuracy on the kept", True),
)


@dataclass(frozen=True)
class Measure:
    """One test of one network: shares of the test images in [0, 1], or None."""

    accuracy: float | None = None
    mean_highest_probability: float | None = None
    abstained: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class EvidenceRow:
    """One test, the network's own figures and the controls' accuracies in the table's order."""

    key: str
    title: str
    note: str
    network: Measure
    controls: tuple[float | None, ...]


@dataclass(frozen=True)
class EvidenceTable:
    """The one table: tests down, the network and its controls across."""

    rows: tuple[EvidenceRow, ...]
    controls: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """One summary figure with its 95 % interval where there is one."""

    title: str
    value: float | None
    is_share: bool
    interval: Interval | None


@dataclass(frozen=True)
class ClassRow:
    """One class against the rest."""

    code: str
    name: str
    support: int | None
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    auc: float | None


@dataclass(frozen=True)
class ConfusionRow:
    """One true class: counts by class named, with the step (0..10) that shades each cell."""

    name: str
    cells: tuple[tuple[int, int], ...]
    total: int


def number(metrics: Metrics, *path: str) -> float | None:
    """Follow `path` through nested mappings to a finite number, or None."""
    value: Any = metrics
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def interval(metrics: Metrics, *path: str) -> Interval | None:
    """Find the bounds at ``intervals`` + `path`: a pair, or a mapping with low and high."""
    value: Any = metrics.get("intervals")
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        value = [value.get("low", value.get("lower")), value.get("high", value.get("upper"))]
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    low, high = (number({"bound": bound}, "bound") for bound in value)
    return None if low is None or high is None else (low, high)


def _wilson(successes: int, n: int) -> Interval | None:
    """95 % Wilson interval of a proportion; None where nothing was counted."""
    return wilson(successes, n) if n > 0 else None


def evidence_table(metrics: Metrics) -> EvidenceTable:
    """Lay out the table that EVIDENCE.md demands of every network."""
    controls = metrics.get("controls")
    controls = controls if isinstance(controls, Mapping) else {}
    # The first two always stand there, measured or not; the linear probe only where it was run.
    shown = [(key, title) for key, title in CONTROLS if key in controls or key != "linear_probe"]
    rows = tuple(
        EvidenceRow(
            key,
            title,
            note,
            _measure(metrics, key),
            tuple(_control(controls, control, key) for control, _ in shown),
        )
        for key, title, note in TESTS
        if key not in OF_CELLS or number(metrics, "robustness", key) is not None
    )
    return EvidenceTable(rows, tuple(title for _, title in shown))


def _measure(metrics: Metrics, key: str) -> Measure:
    if key == "plain":
        coverage = number(metrics, "coverage")
        return Measure(
            number(metrics, "accuracy"),
            _first(
                number(metrics, "mean_highest_probability"),
                number(metrics, "details", key, "mean_highest_probability"),
                number(metrics, "robustness", "plain", "mean_highest_probability"),
            ),
            None if coverage is None else 1 - coverage,
            interval(metrics, "accuracy"),
        )
    path = (key,) if key == "cells_removed" else ("robustness", key)
    return Measure(
        _first(number(metrics, *path), number(metrics, *path, "accuracy")),
        _first(
            number(metrics, *path, "mean_highest_probability"),
            number(metrics, "details", key, "mean_highest_probability"),
        ),
        _first(number(metrics, *path, "abstained"), number(metrics, "details", key, "abstained")),
        interval(metrics, key) or interval(metrics, *path),
    )


def _control(controls: Metrics, control: str, test: str) -> float | None:
    # The majority rule does not look at the image: what is done to it changes nothing.
    if test == "plain" or control == "majority":
        return _first(
            number(controls, control),
            number(controls, control, "plain"),
            number(controls, control, "accuracy"),
        )
    return _first(number(controls, control, test), number(controls, control, test, "accuracy"))


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def meaning(metrics: Metrics) -> list[str]:
    """Say in sentences what the table means for this network, from what was measured alone."""
    return list(_meaning(metrics))


def _meaning(metrics: Metrics) -> Iterator[str]:
    controls = metrics.get("controls")
    colour = _control(controls if isinstance(controls, Mapping) else {}, "colour_5nn", "plain")
    if colour is not None and (share := _measure(metrics, "plain").accuracy) is not None:
        nothing = colour > 0.8 * share
        yield (
            f"A rule that sees only six colour numbers names {_percent(colour)} of these images "
            + (
                "correctly, so the plain figure alone shows nothing about morphology."
                if nothing
                else "correctly: what the network knows beyond that is more than colour."
            )
        )
    plain, stain, ground = (
        _measure(metrics, key).accuracy for key in ("plain", "stain_swap", "background_swap")
    )
    if plain is not None and stain is not None and ground is not None:
        yield (
            "A network that reads the cells keeps its answer when the stain or the background is "
            f"that of another class: this one goes from {_percent(plain)} to {_percent(stain)} "
            f"and to {_percent(ground)}."
        )
    removed = _measure(metrics, "cells_removed")
    if removed.abstained is not None:
        yield (
            "With the nucleated cells painted away nothing is left to read, and the right answer "
            f"is none: it abstains on {_percent(removed.abstained)} of those images."
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def summary(metrics: Metrics) -> list[Figure]:
    """Pick the summary figures; those that CLI and issue name always, others where measured."""
    optional = {"brier", "aurc", "accuracy_on_surest_80", "m_score"}
    figures = [
        Figure(title, number(metrics, key), is_share, interval(metrics, key))
        for key, title, is_share in SUMMARY
        if key not in optional or number(metrics, key) is not None
    ]
    for key, title in (("auroc", "AUROC, images that are no smear"), ("fpr95", "FPR95, the same")):
        figures.append(Figure(title, number(metrics, "ood", key), key == "fpr95", None))
    return figures


def confusion(metrics: Metrics, names: Sequence[str]) -> list[ConfusionRow]:
    """Lay out the confusion matrix; empty where it is absent or does not fit the classes."""
    matrix = _matrix(metrics, len(names))
    return [
        ConfusionRow(
            name,
            tuple((count, round(10 * count / sum(row)) if sum(row) else 0) for count in row),
            sum(row),
        )
        for name, row in zip(names, matrix, strict=False)
    ]


def _matrix(metrics: Metrics, size: int) -> list[list[int]]:
    matrix = metrics.get("confusion")
    if not isinstance(matrix, Sequence) or len(matrix) != size:
        return []
    rows = []
    for row in matrix:
        if not isinstance(row, Sequence) or len(row) != size:
            return []
        counts = [number({"count": count}, "count") for count in row]
        if any(count is None or count < 0 for count in counts):
            return []
        rows.append([int(count or 0) for count in counts])
    return rows


def class_rows(metrics: Metrics, classes: Sequence[tuple[str, str]]) -> list[ClassRow]:
    """Lay out the classes, `classes` being (code, name) in the order of the confusion matrix."""
    matrix = _matrix(metrics, len(classes))
    rows = []
    for index, (code, name) in enumerate(classes):
        support = number(metrics, "per_class", code, "support")
        row_n = sum(matrix[index]) if matrix else 0
        column_n = sum(row[index] for row in matrix)
        hits = matrix[index][index] if matrix else 0
        rows.append(
            ClassRow(
                code,
                name,
                int(support) if support is not None else (row_n if matrix else None),
                number(metrics, "per_class", code, "precision"),
                interval(metrics, "per_class", code, "precision") or _wilson(hits, column_n),
                number(metrics, "per_class", code, "recall"),
                interval(metrics, "per_class", code, "recall") or _wilson(hits, row_n),
                number(metrics, "per_class", code, "f1"),
                _first(number(metrics, "auc", code), number(metrics, "per_class", code, "auc")),
            )
        )
    return rows


def plain_facts(value: Any) -> list[tuple[str, str]]:
    """Flatten what a version says of itself (data, explanation, libraries) into (term, text)."""
    if isinstance(value, Mapping):
        return [(_term(key), _text(entry)) for key, entry in value.items()]
    return [("", _text(value))] if value else []


def _term(key: object) -> str:
    return str(key).replace("_", " ").capitalize()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{_term(key).lower()} {_text(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(entry) for entry in value)
    return str(value)
