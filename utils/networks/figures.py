"""The figures of a network's page, as SVG files. Matplotlib is imported only here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from utils.networks import statistics
from utils.networks.manifest import LabelClass

INK, QUIET, ACCENT = "#2b2735", "#8b8794", "#5b3fa0"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "marrow-find",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
}


@contextmanager
def _sheet(path: Path, *, width: float = 4.2, height: float = 3.4) -> Iterator[Axes]:
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
        yield axes
        # No date: the same figures give the same file.
        figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
        plt.close(figure)


def draw_curves(log: Sequence[dict[str, Any]], best_epoch: int, path: Path) -> None:
    """Loss and validation accuracies over the epochs, the best one marked."""
    epochs = [row["epoch"] + 1 for row in log]
    with _sheet(path, width=6.4) as axes:
        shown = (
            ("plain", "plain", ACCENT),
            ("background_swap", "background swap", "#D55E00"),
            ("stain_swap", "stain swap", "#009E73"),
            ("grey", "grey", "#6b6b6b"),
        )
        for key, name, colour in shown:
            axes.plot(*_over_epochs(log, key), color=colour, lw=1.4, label=name)
        surest = _over_epochs(log, "removed")
        axes.plot(*surest, color="#CC79A7", lw=1.2, ls="--", label="cells removed: surest")
        axes.axvline(best_epoch + 1, color=INK, lw=0.8, ls=":")
        axes.annotate(f"best: {best_epoch + 1}", (best_epoch + 1, 0.02), ha="right", color=INK)
        for first, second in pairwise(log):
            if first["side_px"] != second["side_px"]:
                axes.axvspan(second["epoch"] + 0.5, epochs[-1] + 0.5, color=ACCENT, alpha=0.05)
                axes.annotate(f"{second['side_px']} px", (second["epoch"] + 0.7, 0.96), color=QUIET)
        axes.set(xlabel="epoch", ylabel="validation accuracy, probability", ylim=(0, 1.02))
        loss = axes.twinx()
        loss.plot(epochs, [row["loss"] for row in log], color=QUIET, lw=1, alpha=0.7)
        loss.set_ylabel("training loss (grey line, with weight decay)")
        loss.set_ylim(bottom=0)
        axes.legend(loc="center right", fontsize=8)


def _over_epochs(log: Sequence[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Epochs that measured something, and what; those before the last stage measure little."""
    measured = [(row["epoch"] + 1, row[key]) for row in log if key in row]
    return [epoch for epoch, _ in measured], [value for _, value in measured]


def draw_confusion(confusion: NDArray[np.int64], classes: Sequence[LabelClass], path: Path) -> None:
    """Counts, shaded by the share of each true class."""
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    names = [label.short_name for label in classes]
    with _sheet(path) as axes:
        axes.imshow(share, cmap="Purples", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(confusion):
            colour = "white" if share[row, column] > 0.55 else INK
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
        axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="called", ylabel="true")


def draw_reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_], path: Path) -> None:
    """How often a calibrated probability was right; discs as large as their count."""
    rows = statistics.calibration_bins(confidence, right)
    with _sheet(path) as axes:
        axes.plot([0, 1], [0, 1], color=QUIET, lw=0.8, ls=":")
        x, y = [r["confidence"] for r in rows], [r["accuracy"] for r in rows]
        axes.plot(x, y, color=ACCENT, lw=1)
        axes.scatter(x, y, s=[8 + 0.6 * r["count"] for r in rows], color=ACCENT, alpha=0.6)
        error = statistics.expected_calibration_error(confidence, right)
        axes.annotate(f"ECE {error:.3f}, n = {len(right)}", (0.02, 0.95), color=INK)
        axes.set(xlabel="probability named", ylabel="share right", xlim=(0, 1.02), ylim=(0, 1.05))


def _thresholds(
    scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    kept = np.arange(1, len(order) + 1)
    sensitivity = hits / max(int(positive.sum()), 1)
    false_rate = (kept - hits) / max(int((~positive).sum()), 1)
    return sensitivity, false_rate, hits / kept


def draw_roc(
    probabilities: NDArray[np.float64],
    targets: NDArray[np.int64],
    classes: Sequence[LabelClass],
    path: Path,
) -> None:
    """Sensitivity against false-positive rate, each class against the rest."""
    with _sheet(path) as axes:
        for i, label in enumerate(classes):
            sensitivity, false_rate, _ = _thresholds(probabilities[:, i], targets == i)
            area = statistics.auroc(probabilities[:, i], targets == i)
            name = label.short_name + (f" {area:.3f}" if area is not None else "")
            axes.step([0, *false_rate], [0, *sensitivity], color=label.colour, lw=1.3, label=name)
        axes.set(xlabel="false-positive rate", ylabel="sensitivity", ylim=(0, 1.02))
        axes.legend(loc="lower right", title="AUC")


def draw_precision_recall(
    probabilities: NDArray[np.float64],
    targets: NDArray[np.int64],
    classes: Sequence[LabelClass],
    path: Path,
) -> None:
    """Precision against recall, each class against the rest."""
    with _sheet(path) as axes:
        for i, label in enumerate(classes):
            sensitivity, _, precision = _thresholds(probabilities[:, i], targets == i)
            axes.plot(sensitivity, precision, color=label.colour, lw=1.3, label=label.short_name)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.legend(loc="lower left")


def draw_risk_coverage(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], path: Path
) -> None:
    """Errors among the kept, as more is kept."""
    coverage, risk, area = statistics.risk_coverage(confidence, right)
    with _sheet(path) as axes:
        axes.plot(coverage, risk, color=ACCENT, lw=1.4)
        axes.annotate(f"area {area:.4f}", (0.03, 0.92), xycoords="axes fraction", color=INK)
        axes.set(xlabel="share kept", ylabel="errors among the kept", xlim=(0, 1.01))
        axes.set_ylim(bottom=0)
