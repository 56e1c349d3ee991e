"""A trained network against a labelled folder: the protocol of the evidence.

Runs on the serving engine, without TensorFlow, so that what is measured is
what is served.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import DatasetInvalid
from utils.networks import baselines, statistics
from utils.networks.classifier import Classifier, Reading
from utils.networks.dataset import Example, load_pixels
from utils.networks.views import Views

Say = Callable[[str], None]


@dataclass(frozen=True)
class Readings:
    """What a network said of a set of pictures.

    Attributes
    ----------
    logits : (N, C) ndarray of float32
    probabilities : (N, C) ndarray of float64
    abstained : (N,) ndarray of bool
    distances : (N,) ndarray of float64
        Out-of-distribution distances.
    embeddings : (N, D) ndarray of float32
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    abstained: NDArray[np.bool_]
    distances: NDArray[np.float64]
    embeddings: NDArray[np.float32]

    @staticmethod
    def gather(readings: Sequence[Reading]) -> Readings:
        """Stack single readings."""
        return Readings(
            logits=np.stack([r.logits for r in readings]),
            probabilities=np.stack([r.probabilities for r in readings]),
            abstained=np.array([r.label is None for r in readings]),
            distances=np.array([r.ood_distance for r in readings]),
            embeddings=np.stack([r.embedding for r in readings]),
        )


@dataclass(frozen=True)
class Material:
    """A labelled set in memory.

    Attributes
    ----------
    pixels : list of (H, W, 3) ndarray of uint8
    targets : (N,) ndarray of int64
    """

    pixels: list[NDArray[np.uint8]]
    targets: NDArray[np.int64]


def load_material(examples: Sequence[Example], codes: Sequence[str]) -> Material:
    """Decode a labelled set.

    Raises
    ------
    DatasetInvalid
        If a folder is no class of the network.
    """
    unknown = sorted({e.code for e in examples} - set(codes))
    if unknown:
        raise DatasetInvalid(
            f"Expected folders named {', '.join(codes)}; found {', '.join(unknown)} as well."
        )
    targets = np.array([list(codes).index(e.code) for e in examples], dtype=np.int64)
    return Material([load_pixels(e.path) for e in examples], targets)


def read_view(classifier: Classifier, views: Views, view: str) -> Readings:
    """Read every field of a set under one view."""
    numbers = range(len(views))
    return Readings.gather([classifier.read(views.input_of(i, view)) for i in numbers])


def evaluate(
    classifier: Classifier,
    material: Material,
    *,
    robustness: bool,
    seed: int = 7,
    groups: Sequence[int] | None = None,
    known: Material | None = None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Measure a network as the evidence asks.

    Parameters
    ----------
    classifier : Classifier
    material : Material
    robustness : bool
        Also under changed stain, background and optics, and without cells.
    seed : int
        Chooses the partners of the swaps.
    groups : sequence of int, optional
        Group of each picture, for intervals.
    known : Material, optional
        Training pictures for the controls; without them each picture is called
        from the others of the same set.
    say : callable

    Returns
    -------
    report : dict
        As `flask network evaluate --json` prints it.
    """
    codes = classifier.manifest.codes
    views = Views(material.pixels, material.targets, spec=classifier.manifest.preprocess, seed=seed)
    say(f"reading {len(views)} pictures")
    plain = read_view(classifier, views, "plain")
    report = statistics.summary(plain.probabilities, material.targets, codes)
    right = plain.probabilities.argmax(axis=1) == material.targets
    kept = ~plain.abstained
    report["coverage"] = float(kept.mean())
    report["accuracy_on_kept"] = float(right[kept].mean()) if kept.any() else None
    report["controls"] = controls(material, known)
    if groups is not None:
        report["intervals"] = intervals(plain.probabilities, material.targets, codes, groups)
    report["robustness"] = report["cells_removed"] = None
    report["details"] = {"plain": certainty(plain)}
    if robustness:
        report["robustness"] = {}
        for view in views.robustness:
            say(f"reading under {view.replace('_', ' ')}")
            changed = read_view(classifier, views, view)
            calls = changed.probabilities.argmax(axis=1)
            report["robustness"][view] = float((calls == material.targets).mean())
            report["details"][view] = certainty(changed)
        say("reading without cells")
        report["cells_removed"] = without_cells(
            read_view(classifier, views, "cells_removed"), material.targets
        )
    return report


def certainty(readings: Readings) -> dict[str, float]:
    """How sure the network was of a set, and how often it abstained."""
    return {
        "mean_highest_probability": float(readings.probabilities.max(axis=1).mean()),
        "abstained": float(readings.abstained.mean()),
    }


def without_cells(readings: Readings, targets: NDArray[np.int64]) -> dict[str, float]:
    """What is left when the cells are gone; the network should abstain."""
    calls = readings.probabilities.argmax(axis=1)
    return {"accuracy": float((calls == targets).mean()), **certainty(readings)}


def controls(material: Material, known: Material | None) -> dict[str, float]:
    """Majority class and five nearest neighbours on six colour numbers."""
    numbers = np.stack([baselines.colour_numbers(p) for p in material.pixels])
    if known is None:
        return {
            "majority": baselines.majority_accuracy(material.targets),
            "colour_5nn": _leave_one_out(numbers, material.targets),
        }
    known_numbers = np.stack([baselines.colour_numbers(p) for p in known.pixels])
    return {
        "majority": baselines.majority_accuracy(material.targets, known.targets),
        "colour_5nn": baselines.nearest_colours_accuracy(
            numbers, material.targets, known_numbers, known.targets
        ),
    }


def controls_by_view(views: Views, known: Material, names: Sequence[str]) -> dict[str, Any]:
    """The controls under each view, for the table of the model card."""
    known_numbers = np.stack([baselines.colour_numbers(p) for p in known.pixels])
    colour = {}
    for name in names:
        changed = [views.picture(i, name) for i in range(len(views))]
        colour[name] = baselines.nearest_colours_accuracy(
            np.stack([baselines.colour_numbers(p) for p in changed]),
            views.targets,
            known_numbers,
            known.targets,
        )
    most = baselines.majority_accuracy(views.targets, known.targets)
    return {"majority": dict.fromkeys(names, most), "colour_5nn": colour}


def _leave_one_out(numbers: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    right = 0.0
    for i in range(len(targets)):
        rest = np.arange(len(targets)) != i
        if not rest.any():
            return 0.0
        right += baselines.nearest_colours_accuracy(
            numbers[i : i + 1], targets[i : i + 1], numbers[rest], targets[rest]
        )
    return right / len(targets)


def intervals(
    probabilities: NDArray[np.float64],
    targets: NDArray[np.int64],
    codes: Sequence[str],
    groups: Sequence[int],
) -> dict[str, list[float]]:
    """95 % intervals by group bootstrap."""
    calls = probabilities.argmax(axis=1)

    def measure(name: str) -> Callable[[NDArray[np.int64]], float]:
        def inner(rows: NDArray[np.int64]) -> float:
            table = statistics.confusion_matrix(targets[rows], calls[rows], len(codes))
            return statistics.figures(table)[name]

        return inner

    names = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "kappa")
    return {name: list(statistics.group_bootstrap(groups, measure(name))) for name in names}


def against_outliers(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> dict[str, Any]:
    """How well the distance tells pictures of another kind from fields.

    Returns
    -------
    figures : dict
        ``auroc``, ``fpr95`` (fields flagged where 95 % of the outliers are
        found) and ``n`` of the outliers.
    """
    scores = np.concatenate([inside, outside])
    positive = np.concatenate([np.zeros(len(inside), bool), np.ones(len(outside), bool)])
    return {
        "auroc": statistics.auroc(scores, positive),
        "fpr95": statistics.fpr_at_95(scores, positive),
        "n": len(outside),
    }
