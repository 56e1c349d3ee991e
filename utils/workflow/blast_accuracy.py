"""How well a network tells blasts from other cells, by the metrics that it was published with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.workflow.differential import BlastAccuracy

if TYPE_CHECKING:
    from utils.networks.manifest import LabelClass


def read_blast_accuracy(models_dir: Path, name: str, version: str) -> BlastAccuracy | None:
    """Read what a network version's test cells say of its blasts.

    Returns
    -------
    accuracy : BlastAccuracy or None
        None where the version is gone, was measured by an older program, or has no blasts.
    """
    from utils.networks.registry import MANIFEST, label_set

    folder = models_dir / name / version
    metrics = folder / "metrics.json"
    try:
        changed_ns = metrics.stat().st_mtime_ns
    except OSError:
        return None
    if not (folder / MANIFEST).is_file():
        return None  # without the version's own classes the matrix has no names
    confusion = _confusion(metrics, changed_ns)
    return blast_accuracy(confusion, label_set(models_dir, name, version))


def blast_accuracy(confusion: Any, labels: Sequence[LabelClass]) -> BlastAccuracy | None:
    """Sensitivity and specificity for blasts, over cells called with a class that counts.

    Parameters
    ----------
    confusion : sequence of sequences of int
        Cells by true class (rows) and called class (columns), in the order of `labels`.
    labels : sequence of LabelClass

    Returns
    -------
    accuracy : BlastAccuracy or None
        None where the matrix does not fit, or holds no blasts or no other cells.
    """
    rows = _whole_numbers(confusion, len(labels))
    if rows is None:
        return None
    counted = [place for place, label in enumerate(labels) if label.counts_in_differential]
    called_blast = [place for place in counted if labels[place].is_blast]
    called_other = [place for place in counted if not labels[place].is_blast]
    hits = misses = false_alarms = rest = 0
    for row, label in zip(rows, labels, strict=True):
        as_blast = sum(row[place] for place in called_blast)
        as_other = sum(row[place] for place in called_other)
        if label.is_blast:
            hits, misses = hits + as_blast, misses + as_other
        else:
            false_alarms, rest = false_alarms + as_blast, rest + as_other
    blasts, others = hits + misses, false_alarms + rest
    if not called_blast or not blasts or not others:
        return None
    return BlastAccuracy(
        sensitivity=hits / blasts,
        specificity=rest / others,
        sensitivity_of=blasts,
        specificity_of=others,
    )


def _whole_numbers(confusion: Any, size: int) -> list[list[int]] | None:
    if not isinstance(confusion, Sequence) or len(confusion) != size:
        return None
    for row in confusion:
        if not isinstance(row, Sequence) or len(row) != size:
            return None
        if not all(type(cells) is int and cells >= 0 for cells in row):
            return None
    return [list(row) for row in confusion]


@lru_cache(maxsize=8)
def _confusion(metrics: Path, _changed_ns: int) -> Any:
    try:
        stored = json.loads(metrics.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stored.get("confusion") if isinstance(stored, Mapping) else None
