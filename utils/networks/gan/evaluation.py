"""How good synthetic fields are, in the feature space of the project's own field network.

Distances compare synthetic pictures with real ones of groups that the generator never saw; beside
each stands the same figure for as many of the real pictures that it learned from: no generator can
be expected below that floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from utils.imaging.preprocess import prepare
from utils.networks import statistics
from utils.networks.classifier import Classifier
from utils.networks.gan.distances import (
    Space,
    bootstrap,
    frechet,
    kernel,
    memorised,
    nearest,
    precision_recall,
)
from utils.networks.gan.generator import Generator
from utils.networks.gan.material import Fields
from utils.networks.gan.sheets import draw_sheet, write_synthetic

REPORT, PAIRS = "evaluation.json", "nearest.png"
PAIRS_HEAD: Final = "Above: synthetic. Below: the training picture that lies nearest."
# Fewer dimensions than pictures of a class, or covariances are full of holes.
DIMENSIONS: Final = 32
WORST_PAIRS: Final = 8
# Of unseen real pictures, for an interval.
LEAST_GROUPS: Final = 4
_PROBE_FOLDS: Final = 5

Features = NDArray[np.float64]
Sampler = Callable[[int, int, int], NDArray[np.uint8]]


@dataclass(frozen=True)
class Real:
    """The real fields on both sides of the split.

    Attributes
    ----------
    train, unseen : Fields
        What the generator learned from; groups that it never saw.
    unseen_groups : sequence of int
    """

    train: Fields
    unseen: Fields
    unseen_groups: Sequence[int]


class Ruler:
    """Measures in the feature space of a field network.

    Parameters
    ----------
    classifier : Classifier
    real : Real
    """

    def __init__(self, classifier: Classifier, real: Real) -> None:
        self.classifier = classifier
        self.real = real
        train = self._raw(real.train.pixels)
        self.space = Space.fit(train, dimensions=min(DIMENSIONS, len(train) // 2))
        self.train = self.space.project(train)
        self.unseen = self.features(real.unseen.pixels)

    def features(self, pixels: NDArray[np.uint8]) -> Features:
        """Features of pictures, (N, d)."""
        return self.space.project(self._raw(pixels))

    def quick(self, sample: Sampler, *, each: int = 40) -> dict[str, float]:
        """One distance over all classes while a training goes on, and its floor."""
        codes = self.real.train.codes
        made = np.concatenate([sample(i, each, 99) for i in range(len(codes))])
        chosen = np.concatenate(
            [self._some(self.real.train.targets, i, each) for i in _each(codes)]
        )
        others = np.concatenate(
            [self._some(self.real.unseen.targets, i, each) for i in _each(codes)]
        )
        return {
            "kernel": kernel(self.unseen[others], self.features(made)),
            "kernel_floor": kernel(self.unseen[others], self.train[chosen]),
        }

    def _raw(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        spec = self.classifier.manifest.preprocess
        inputs = (prepare(p, spec).network_input for p in pixels)
        return np.stack([self.classifier.forward(p).embedding for p in inputs])

    @staticmethod
    def _some(targets: NDArray[np.int64], label: int, count: int) -> NDArray[np.int64]:
        members = np.flatnonzero(targets == label)
        return np.random.default_rng(label).permutation(members)[:count]


def evaluate(
    ruler: Ruler,
    generator: Generator,
    folder: Path,
    *,
    per_class: int = 200,
    seed: int = 2024,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure a generator.

    Parameters
    ----------
    ruler : Ruler
    generator : Generator
    folder : Path
        Takes the sheet of the nearest pairs.
    per_class : int
        Synthetic pictures of each class; no more than there are unseen real ones are compared.
    seed : int
    say : callable

    Returns
    -------
    report : dict
    """
    real, codes = ruler.real, generator.about.codes
    made = [np.stack(list(generator.draw(code, range(per_class), seed=seed))) for code in codes]
    features = []
    for code, pictures in zip(codes, made, strict=True):
        say(f"features of {len(pictures)} synthetic pictures of {code}")
        features.append(ruler.features(pictures))
    groups = np.asarray(real.unseen_groups)
    per: dict[str, Any] = {}
    everything: list[tuple[Features, Features, Features]] = []
    for label, code in enumerate(codes):
        unseen = np.flatnonzero(real.unseen.targets == label)
        learned = Ruler._some(real.train.targets, label, len(unseen))
        size = min(len(unseen), len(learned), per_class)
        rows = (
            ruler.unseen[unseen[:size]],
            features[label][:size],
            ruler.train[learned[:size]],
        )
        everything.append(rows)
        per[code] = _distances(*rows, groups[unseen[:size]])
    unseen_all, made_all, learned_all = (
        np.concatenate(column) for column in zip(*everything, strict=True)
    )
    all_groups = np.concatenate(
        [
            groups[np.flatnonzero(real.unseen.targets == label)[: len(rows[0])]]
            for label, rows in enumerate(everything)
        ]
    )
    say("probe, and training on synthetic pictures alone")
    return {
        "generator": generator.about.run,
        "weights_sha256": generator.about.weights_sha256,
        "ruler": f"{ruler.classifier.manifest.name} {ruler.classifier.manifest.version}",
        "pictures": per_class,
        "per_class": per,
        "all": _distances(unseen_all, made_all, learned_all, all_groups),
        "memorised": _memorised(ruler, made, features, folder, generator.about.names),
        "probe": {
            "auroc": _probe(unseen_all, made_all),
            "floor": _probe(unseen_all, learned_all),
        },
        "trained_on": _trained_on(ruler, features),
    }


def _each(codes: Sequence[str]) -> range:
    return range(len(codes))


def _distances(
    unseen: Features, made: Features, learned: Features, groups: NDArray[Any]
) -> dict[str, Any]:
    precision, recall = precision_recall(unseen, made)
    floor_precision, floor_recall = precision_recall(unseen, learned)

    def spread(measure: Any, within: tuple[float, float]) -> list[float] | None:
        if len(np.unique(groups)) < LEAST_GROUPS:
            return None
        return list(bootstrap(measure, unseen, made, groups=groups, within=within))

    return {
        "n": len(unseen),
        "kernel": kernel(unseen, made),
        "kernel_interval": spread(kernel, (-np.inf, np.inf)),
        "kernel_floor": kernel(unseen, learned),
        "frechet": frechet(unseen, made),
        "frechet_interval": spread(frechet, (0.0, np.inf)),
        "frechet_floor": frechet(unseen, learned),
        "precision": precision,
        "precision_interval": spread(lambda a, b: precision_recall(a, b)[0], (0.0, 1.0)),
        "precision_floor": floor_precision,
        "recall": recall,
        "recall_interval": spread(lambda a, b: precision_recall(a, b)[1], (0.0, 1.0)),
        "recall_floor": floor_recall,
    }


def _memorised(
    ruler: Ruler,
    made: Sequence[NDArray[np.uint8]],
    features: Sequence[Features],
    folder: Path,
    names: Sequence[str],
) -> dict[str, Any]:
    """Whether synthetic pictures lie nearer to training pictures than other real ones do."""
    pictures = np.concatenate(list(made))
    indices, distances = nearest(np.concatenate(list(features)), ruler.train)
    _, between = nearest(ruler.unseen, ruler.train)
    order = np.argsort(distances)[:WORST_PAIRS]
    rows = [
        [pictures[i] for i in order],
        [ruler.real.train.pixels[indices[i]] for i in order],
    ]
    sheet = draw_sheet(rows, ["Synthetic", "Nearest real"], head=PAIRS_HEAD)
    write_synthetic(sheet, folder / PAIRS)
    labels = np.repeat(np.arange(len(names)), [len(m) for m in made])
    return {
        **memorised(distances, between),
        "nearest": [
            {"class": names[int(labels[i])], "distance": float(distances[i])} for i in order
        ],
        "sheet": PAIRS,
    }


def _probe(real: Features, made: Features) -> float:
    """How well a linear rule tells real from synthetic: 0.5 cannot, 1 always."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rows = np.concatenate([real, made])
    targets = np.repeat([0, 1], [len(real), len(made)])
    folds = StratifiedKFold(_PROBE_FOLDS, shuffle=True, random_state=3)
    rule = LogisticRegression(max_iter=1000)
    scores = cross_val_predict(rule, rows, targets, cv=folds, method="decision_function")
    return statistics.auroc(scores, targets == 1) or 0.5


def _trained_on(ruler: Ruler, features: Sequence[Features]) -> dict[str, float]:
    """Accuracy on unseen real fields of a linear rule that saw synthetic, or real, ones alone."""
    from sklearn.linear_model import LogisticRegression

    real = ruler.real

    def accuracy(rows: Features, targets: NDArray[np.int64]) -> float:
        rule = LogisticRegression(max_iter=1000).fit(rows, targets)
        return float(rule.score(ruler.unseen, real.unseen.targets))

    labels = np.repeat(np.arange(len(features)), [len(f) for f in features])
    return {
        "synthetic": accuracy(np.concatenate(list(features)), labels),
        "real": accuracy(ruler.train, real.train.targets),
    }
