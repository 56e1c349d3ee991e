"""Sensitivity and specificity for blasts, out of a confusion matrix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.untrained import write_random_network
from tests.workflow.test_differential import make_class
from utils.workflow.blast_accuracy import blast_accuracy, read_blast_accuracy

LABELS = (
    make_class("BLA", "undetermined", "blast", is_blast=True),
    make_class("LYT", "lymphoid", "mature"),
    make_class("NIF", "none", "none", counts_in_differential=False),
)


def test_cells_called_uncounted_are_in_neither_figure() -> None:
    found = blast_accuracy([[80, 20, 5], [6, 90, 7], [4, 0, 50]], LABELS)
    assert found is not None
    assert (found.sensitivity, found.sensitivity_of) == (0.8, 100)
    assert (found.specificity, found.specificity_of) == (0.9, 100)


@pytest.mark.parametrize(
    "confusion",
    [
        None,
        [],
        [[1, 2], [3, 4]],
        [[1, 2, 3], [1, 2], [1, 2, 3]],
        [[1, 2, 3], [1, 2.5, 3], [1, 2, 3]],
        [[1, -2, 3], [1, 2, 3], [1, 2, 3]],
        [[0, 0, 5], [6, 90, 7], [4, 0, 50]],
        [[80, 20, 5], [0, 0, 7], [0, 0, 50]],
        "confusion",
    ],
)
def test_what_cannot_be_used_is_none(confusion: Any) -> None:
    assert blast_accuracy(confusion, LABELS) is None


def test_without_blasts_there_is_none() -> None:
    assert blast_accuracy([[5, 1], [1, 5]], LABELS[1:]) is None


def test_it_is_read_from_the_version(tmp_path: Path) -> None:
    folder = write_random_network(tmp_path, name="marrow7", version="1")
    assert read_blast_accuracy(tmp_path, "marrow7", "1") is None
    assert read_blast_accuracy(tmp_path, "marrow7", "2") is None
    confusion = [[90, 10, 0, 0], [0, 100, 0, 0], [0, 0, 100, 0], [5, 0, 0, 95]]
    (folder / "metrics.json").write_text(json.dumps({"confusion": confusion}))
    found = read_blast_accuracy(tmp_path, "marrow7", "1")
    assert found is not None
    # Of all4's classes all but Benign are blasts.
    assert (found.specificity, found.specificity_of) == (0.9, 100)
    assert (found.sensitivity, found.sensitivity_of) == (295 / 300, 300)
    (folder / "metrics.json").write_text("not JSON, and longer than before")
    assert read_blast_accuracy(tmp_path, "marrow7", "1") is None
