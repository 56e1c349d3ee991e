"""The gate: do synthetic pictures help a network, on slides that neither has seen?

Two small networks are trained from nothing on the same real fields, both with the classical
changes (turned, mirrored, stain shaken); one of them also gets synthetic fields, as many as bring
every class up to the largest. Both are tested on groups that took no part in the training of the
generator. That is repeated with other folds left out and other seeds; the difference of macro F1,
plain and under another class's stain, is averaged over the repetitions, and its interval comes
from resampling the groups of the test and the trainings. Synthetic pictures may train something
only where that interval lies above nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from utils.errors import InvalidInput
from utils.imaging import counterfactual
from utils.networks import checkpoints, statistics
from utils.networks.gan.material import Fields, turned

VERDICT = "gate.json"
SIDE_PX = 64
WIDTHS = (24, 48, 64, 96)
FOLDS = 3
VIEWS = ("plain", "stain_swap")

Say = Callable[[str], None]
Images = NDArray[np.uint8]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes
    ----------
    passed : bool
    real, with_synthetic : dict of str to float
        Mean macro F1 of the two ways, by view: ``plain`` and ``stain_swap``.
    difference : dict of str to (float, float, float)
        Mean difference and its 95 % interval, by view.
    added : dict of str to int
        Synthetic pictures of each class.
    tested : int
        Real pictures in the test.
    runs : int
        Trainings of each way.
    weights_sha256 : str
        Of the generator that was judged.
    """

    passed: bool
    real: dict[str, float]
    with_synthetic: dict[str, float]
    difference: dict[str, tuple[float, float, float]]
    added: dict[str, int]
    tested: int
    runs: int
    weights_sha256: str

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        mean, low, high = self.difference["plain"]
        elsewhere = self.difference["stain_swap"][0]
        if self.passed:
            opening = "These synthetic pictures may train: they helped on slides unseen."
        elif high < 0:
            opening = "These synthetic pictures may not train anything: they did harm."
        else:
            opening = "These synthetic pictures may not train anything: no gain is shown."
        return (
            f"{opening} Macro F1 {self.with_synthetic['plain']:.3f} with them, "
            f"{self.real['plain']:.3f} with real pictures alone (difference {mean:+.3f}, 95 % "
            f"{low:+.3f} to {high:+.3f}; under another stain {elsewhere:+.3f})."
        )


def judge(
    train: Fields,
    train_groups: Sequence[int],
    test: Fields,
    test_groups: Sequence[int],
    made: Fields,
    *,
    weights_sha256: str,
    seeds: Sequence[int] = (1, 2, 3),
    epochs: int = 24,
    rounds: int = 400,
    say: Say = print,
) -> Verdict:
    """Train both ways, test both, compare.

    Parameters
    ----------
    train : Fields
        What the generator learned from.
    train_groups, test_groups : sequence of int
        Pictures of one group are never parted.
    test : Fields
        Groups that the generator never saw.
    made : Fields
        Synthetic.
    weights_sha256 : str
        Of the generator.
    seeds : sequence of int
    epochs, rounds : int
    say : callable

    Returns
    -------
    verdict : Verdict
    """
    folds = _folds(train_groups, train.targets)
    calls = _call_both_ways(train, folds, test, made, seeds, epochs, say)
    scores = {
        way: {v: _mean_f1(calls[way][v], test.targets, len(test.codes)) for v in VIEWS}
        for way in "ab"
    }
    difference = {v: _difference(calls, v, test, test_groups, rounds) for v in VIEWS}
    counts = np.bincount(made.targets, minlength=len(made.codes))
    # No harm under another stain either: a generator copies the stain of its slides.
    passed = difference["plain"][1] > 0 and difference["stain_swap"][2] >= 0
    return Verdict(
        passed=passed,
        real=scores["a"],
        with_synthetic=scores["b"],
        difference=difference,
        added={code: int(n) for code, n in zip(made.codes, counts, strict=True)},
        tested=len(test),
        runs=len(seeds) * len(folds),
        weights_sha256=weights_sha256,
    )


def _call_both_ways(
    train: Fields,
    folds: Sequence[Numbers],
    test: Fields,
    made: Fields,
    seeds: Sequence[int],
    epochs: int,
    say: Say,
) -> dict[str, dict[str, list[Numbers]]]:
    """Calls of the test pictures by way (``a``: real alone, ``b``: synthetic too) and view."""
    views, classes = _views(test), len(train.codes)
    calls: dict[str, dict[str, list[Numbers]]] = {way: {v: [] for v in VIEWS} for way in "ab"}
    real_pixels, made_pixels = _small(train.pixels), _small(made.pixels)
    total, done = len(seeds) * len(folds) * 2, 0
    for seed in seeds:
        for left_out in folds:
            kept = np.setdiff1d(np.arange(len(train)), left_out)
            real = (real_pixels[kept], train.targets[kept])
            both = (
                np.concatenate([real[0], made_pixels]),
                np.concatenate([real[1], made.targets]),
            )
            # As many steps for both: more pictures must not mean more training.
            steps = epochs * len(kept)
            for way, (pixels, targets) in (("a", real), ("b", both)):
                network = _trained(pixels, targets, classes, steps=steps, seed=seed)
                for view in VIEWS:
                    calls[way][view].append(_calls(network, views[view]))
                done += 1
                say(f"gate: {done} of {total} trainings")
    return calls


def save(verdict: Verdict, folder: Path) -> None:
    """Write a verdict beside the generator it is about."""
    content = asdict(verdict) | {"sentence": verdict.sentence}
    checkpoints.replace(folder / VERDICT, json.dumps(content, indent=1))


def load(folder: Path) -> Verdict | None:
    """The verdict on a generator; None where none was reached."""
    path = folder / VERDICT
    if not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("sentence")
    return Verdict(**values)


def admit(folder: Path, weights_sha256: str) -> Verdict:
    """Let a generator's pictures into training, or refuse.

    Raises
    ------
    InvalidInput
        If the gate was not passed, or by another generator than this.
    """
    verdict = load(folder)
    if verdict is None:
        raise InvalidInput(
            "Synthetic pictures may train only what the gate admits: run `flask gan evaluate` "
            "with --gate first."
        )
    if verdict.weights_sha256 != weights_sha256:
        raise InvalidInput("The gate's verdict is about other weights of this generator.")
    if not verdict.passed:
        raise InvalidInput(verdict.sentence)
    return verdict


def missing(targets: Numbers, codes: Sequence[str]) -> dict[str, int]:
    """How many pictures bring every class up to the largest."""
    counts = np.bincount(targets, minlength=len(codes))
    return {code: int(counts.max() - n) for code, n in zip(codes, counts, strict=True)}


def _folds(groups: Sequence[int], targets: Numbers) -> list[NDArray[np.int64]]:
    """Parts of the training pictures by group, about equal in every class."""
    numbers = np.asarray(groups)
    folds: list[list[int]] = [[] for _ in range(FOLDS)]
    for label in range(int(targets.max()) + 1):
        members: dict[int, list[int]] = {}
        for i in np.flatnonzero(targets == label):
            members.setdefault(int(numbers[i]), []).append(int(i))
        filled = [0] * FOLDS
        for indices in sorted(members.values(), key=len, reverse=True):
            smallest = filled.index(min(filled))
            folds[smallest] += indices
            filled[smallest] += len(indices)
    # A group that holds two classes stays whole, where its first class put it.
    taken: dict[int, int] = {}
    for number, fold in enumerate(folds):
        for member in fold:
            taken.setdefault(int(numbers[member]), number)
    placed = np.array([taken[int(g)] for g in numbers])
    return [np.flatnonzero(placed == number) for number in range(FOLDS)]


def _small(pixels: Images) -> Images:
    side = (SIDE_PX, SIDE_PX)
    return np.stack([cv2.resize(p, side, interpolation=cv2.INTER_AREA) for p in pixels])


def _views(test: Fields) -> dict[str, Images]:
    plain = _small(test.pixels)
    rng = np.random.default_rng(7)
    swapped = []
    for pixels, target in zip(plain, test.targets, strict=True):
        others = np.flatnonzero(test.targets != target)
        donor = plain[int(rng.choice(others))]
        swapped.append(counterfactual.match_stain(pixels, counterfactual.stain_statistics(donor)))
    return {"plain": plain, "stain_swap": np.stack(swapped)}


def _network(classes: int) -> keras.Model:
    pixels = layers.Input((SIDE_PX, SIDE_PX, 3))
    x = layers.Rescaling(1 / 127.5, -1.0)(pixels)
    for width in WIDTHS:
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.Activation("relu")(x)
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(pixels, layers.Dense(classes)(x))


def _trained(
    pixels: Images, targets: Numbers, classes: int, *, steps: int, seed: int, batch: int = 32
) -> keras.Model:
    """Train on about `steps` pictures, each class as often as any other."""
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(seed)
    network = _network(classes)
    total = max(1, steps // batch)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, total)
    network.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    rng = np.random.default_rng(seed)
    weight = 1.0 / np.bincount(targets, minlength=classes)[targets]
    chances = weight / weight.sum()
    for _ in range(total):
        chosen = rng.choice(len(targets), batch, p=chances)
        network.train_on_batch(
            np.stack([_changed(pixels[i], rng) for i in chosen]), targets[chosen]
        )
    return network


def _changed(pixels: Images, rng: np.random.Generator) -> Images:
    """The classical changes: turned, mirrored, each channel's density scaled."""
    factors = np.exp(rng.normal(0.0, 0.15) + rng.normal(0.0, 0.1, 3)).astype(np.float32)
    return counterfactual.scale_densities(turned(pixels, rng), factors)


def _calls(network: keras.Model, pixels: Images) -> Numbers:
    parts = [
        np.asarray(network(pixels[i : i + 128], training=False)) for i in range(0, len(pixels), 128)
    ]
    return np.asarray(np.concatenate(parts).argmax(axis=1))


def _macro_f1(targets: Numbers, calls: Numbers, classes: int) -> float:
    table = statistics.confusion_matrix(targets, calls, classes)
    right = np.diag(table).astype(float)
    each = 2 * right / np.maximum(table.sum(axis=0) + table.sum(axis=1), 1)
    return float(each[table.sum(axis=1) > 0].mean())


def _mean_f1(calls: list[Numbers], targets: Numbers, classes: int) -> float:
    return float(np.mean([_macro_f1(targets, c, classes) for c in calls]))


def _difference(
    calls: dict[str, dict[str, list[Numbers]]],
    view: str,
    test: Fields,
    groups: Sequence[int],
    rounds: int,
) -> tuple[float, float, float]:
    classes, numbers = len(test.codes), np.asarray(groups)
    names = np.unique(numbers)
    members = {g: np.flatnonzero(numbers == g) for g in names}
    rng = np.random.default_rng(11)

    pairs = list(zip(calls["b"][view], calls["a"][view], strict=True))

    def gain(chosen: NDArray[Any], runs: Sequence[int]) -> float:
        scores = [
            [_macro_f1(test.targets[chosen], c[chosen], classes) for c in pairs[run]]
            for run in runs
        ]
        return float(np.mean([with_made - alone for with_made, alone in scores]))

    # Other slides and other trainings might have been drawn: both are.
    drawn = [
        gain(
            np.concatenate([members[g] for g in rng.choice(names, len(names))]),
            rng.choice(len(pairs), len(pairs)).tolist(),
        )
        for _ in range(rounds)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return gain(np.arange(len(test)), range(len(pairs))), float(low), float(high)
