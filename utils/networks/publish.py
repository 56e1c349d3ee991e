"""From a finished run to a version under `models/`: export, calibrate, measure, describe."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.imaging import synthesis
from utils.imaging.preprocess import PreprocessSpec, prepare
from utils.networks import calibration, evaluation, export, figures, registry, statistics, training
from utils.networks.augmentation import Fields, Strength
from utils.networks.card import Origin, write_card
from utils.networks.cell_augmentation import Cells, CellStrength
from utils.networks.cell_sets import as_tiles, parted, read_cell_set
from utils.networks.classifier import Classifier, softmax
from utils.networks.dataset import PARTS, Example, Split, load_pixels
from utils.networks.evaluation import Material
from utils.networks.manifest import LabelClass, Manifest, OutOfDistribution
from utils.networks.normalisation import Normalisation
from utils.networks.outliers import outlier_pictures
from utils.networks.probe import probe_accuracies
from utils.networks.recipes import Recipe
from utils.networks.views import Views

Say = Callable[[str], None]
LIBRARIES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "onnx", "opencv-python-headless")
PROBED_CELL_VIEWS = ("plain", "stain_swap", "grey")
# Share of the own pictures that another laboratory's make up in training.
ELSEWHERE = 0.125
FITTED_VIEWS = ("plain", "stain_jitter")


@dataclass(frozen=True)
class Finished:
    """A finished run and what it was trained on.

    Attributes
    ----------
    name, version : str
        Of the network that is written.
    run : Path
        Folder of the checkpoints.
    examples : list of Example
    split : Split
    classes : list of LabelClass
    normalisation : Normalisation
    spec : PreprocessSpec
    start, parent : str or None
        Start weights; the network that this one went on from.
    origin : Origin
    training_outliers : tuple of Path
        Class folders whose pictures belong to no class.
    other_kinds : dict of str to Path
        Folders of pictures that should be out of distribution.
    elsewhere : tuple of Path
        Sets of other laboratories' cells that it trains on too, but for their last quarter.
    """

    name: str
    version: str
    run: Path
    examples: list[Example]
    split: Split
    classes: list[LabelClass]
    normalisation: Normalisation
    spec: PreprocessSpec
    start: str | None
    parent: str | None
    origin: Origin
    training_outliers: tuple[Path, ...] = ()
    other_kinds: dict[str, Path] = field(default_factory=dict)
    elsewhere: tuple[Path, ...] = ()


def training_material(finished: Finished, recipe: Recipe, *, seed: int) -> training.Material:
    """Load what `utils.networks.training.train` reads.

    Parameters
    ----------
    finished : Finished
        Its run need not have begun.
    recipe : Recipe
    seed : int

    Returns
    -------
    material : training.Material
    """
    parts = _load_parts(finished)
    side = parts["train"].pixels[0].shape[0]
    outliers = outlier_pictures(finished.training_outliers, count=600, side_px=side, seed=seed)
    known = _with_elsewhere(finished, parts["train"])
    return training.Material(
        _pictures(finished, recipe, known, outliers, seed),
        Views(
            parts["validation"].pixels, parts["validation"].targets, spec=finished.spec, seed=seed
        ),
        tuple(label.code for label in finished.classes),
    )


def _with_elsewhere(finished: Finished, own: Material, *, weighed: bool = True) -> Material:
    """The training pictures and those of other laboratories.

    Where they are weighed, each other laboratory's cells are repeated until they are about
    `ELSEWHERE` of the set's own: a few hundred cells would drown in thousands.
    """
    codes = [label.code for label in finished.classes]
    pixels, targets = list(own.pixels), [own.targets]
    for folder in finished.elsewhere:
        tiles, classes = as_tiles(parted(read_cell_set(folder))[0], codes)
        times = max(1, round(ELSEWHERE * len(own.pixels) / len(tiles))) if weighed else 1
        pixels += tiles * times
        targets += [classes] * times
    return Material(pixels, np.concatenate(targets))


def _pictures(
    finished: Finished, recipe: Recipe, known: Material, outliers: list[Any], seed: int
) -> training.Pictures:
    classes, strength = len(finished.classes), recipe.strength
    if isinstance(strength, CellStrength):
        return Cells(
            known.pixels,
            known.targets,
            outliers=outliers,
            spec=recipe.spec,
            strength=strength,
            classes=classes,
        )
    assert isinstance(strength, Strength)
    return Fields(
        known.pixels,
        known.targets,
        outliers=outliers,
        classes=classes,
        spec=recipe.spec,
        strength=strength,
        seed=seed,
    )


def publish(finished: Finished, models_dir: Path, *, say: Say = print) -> Path:
    """Write a version that the registry serves.

    Parameters
    ----------
    finished : Finished
    models_dir : Path
    say : callable

    Returns
    -------
    folder : Path
    """
    parts = _load_parts(finished)
    network = export.rebuild(finished.run / "best.weights.h5", len(finished.classes))
    graph = export.export_graph(network, input_px=finished.spec.input_px).SerializeToString()
    say(f"graph of {len(graph) / 1e6:.1f} MB; fitting thresholds on validation")
    manifest = _fit(finished, parts, graph)
    classifier = Classifier(graph, manifest, threads=os.cpu_count() or 1)
    metrics = _measure(finished, parts, classifier, say)
    manifest = manifest.model_copy(update={"metrics": _headline(metrics)})
    final = models_dir / finished.name / finished.version
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / registry.GRAPH).write_bytes(graph)
    manifest.save(partial / registry.MANIFEST)
    (partial / "metrics.json").write_text(json.dumps(metrics, indent=1))
    finished.split.save(partial / "split.json")
    log = [json.loads(line) for line in (finished.run / "log.jsonl").read_text().splitlines()]
    state = json.loads((finished.run / "state.json").read_text())
    curves = {"best_epoch": state["best_epoch"], "seconds": state["seconds"], "epochs": log}
    (partial / "curves.json").write_text(json.dumps(curves, indent=0))
    figures.draw_curves(log, state["best_epoch"], partial / "curves.svg")
    _draw(classifier, parts["test"], partial)
    write_card(manifest, metrics, finished.origin, partial / "card.md")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    registry.set_current(models_dir, finished.name, finished.version)
    return final


def _load_parts(finished: Finished) -> dict[str, Material]:
    codes = [label.code for label in finished.classes]
    return {
        part: evaluation.load_material(finished.split.select(finished.examples, part), codes)
        for part in PARTS
    }


def _fit(finished: Finished, parts: dict[str, Material], graph: bytes) -> Manifest:
    unfitted = _manifest(finished, graph, 1.0, 0.0, None)
    classifier = Classifier(graph, unfitted, threads=os.cpu_count() or 1)
    validation = parts["validation"]
    views = Views(validation.pixels, validation.targets, spec=finished.spec, seed=11)
    plain = evaluation.read_view(classifier, views, "plain")
    jittered = evaluation.read_view(classifier, views, "stain_jitter")
    temperature = calibration.fit_temperature(plain.logits, validation.targets)
    empty = evaluation.read_view(classifier, views, "cells_removed")
    threshold = calibration.fit_abstention(
        _surest(plain.logits, temperature), _surest(empty.logits, temperature)
    )
    training = _with_elsewhere(finished, parts["train"], weighed=False)
    known = Views(training.pixels, training.targets, spec=finished.spec, seed=12)
    embeddings = [evaluation.read_view(classifier, known, view).embeddings for view in FITTED_VIEWS]
    domain = calibration.fit_out_of_distribution(
        np.concatenate(embeddings), np.concatenate([plain.embeddings, jittered.embeddings])
    )
    return _manifest(finished, graph, temperature, threshold, domain)


def _surest(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    return np.asarray(softmax(logits / temperature).max(axis=1))


def _manifest(
    finished: Finished,
    graph: bytes,
    temperature: float,
    abstain_below: float,
    domain: OutOfDistribution | None,
) -> Manifest:
    if domain is None:
        width = 512 + 256
        domain = OutOfDistribution(
            mean=[0.0] * width,
            scale=[1.0] * width,
            components=[[0.0] * width],
            spread=[1.0],
            rest=1.0,
            threshold=1e9,
        )
    recipe = json.loads((finished.run / "recipe.json").read_text())["recipe"]
    counts = {part: len(finished.split.select(finished.examples, part)) for part in PARTS}
    return Manifest(
        name=finished.name,
        version=finished.version,
        task="field" if finished.spec.cell_context is None else "cell",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=finished.classes,
        backbone="ResNet50, normalisation folded; average pooling, Dense(256), Dense(classes)",
        heat_layer="conv5_block3_out, gradient of the logit",
        normalisation=finished.normalisation,
        preprocess=finished.spec,
        temperature=temperature,
        abstain_below=abstain_below,
        out_of_distribution=domain,
        training={
            "parent": finished.parent or "none",
            **asdict(finished.origin),
            "elsewhere": {
                folder.name: finished.origin.elsewhere.get(folder.name, "not described.")
                for folder in finished.elsewhere
            },
            "recipe": recipe["name"],
            "pictures": counts,
            "split_seed": finished.split.seed,
            "block": finished.split.block,
        },
        metrics={},
        libraries=_versions(),
        weights_sha256=hashlib.sha256(graph).hexdigest(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _measure(
    finished: Finished, parts: dict[str, Material], classifier: Classifier, say: Say
) -> dict[str, Any]:
    test = parts["test"]
    groups = [
        finished.split.groups[e.sha256] for e in finished.split.select(finished.examples, "test")
    ]
    report = evaluation.evaluate(
        classifier, test, robustness=True, groups=groups, known=parts["train"], say=say
    )
    views = Views(test.pixels, test.targets, spec=finished.spec, seed=7)
    tests = ("plain", *views.robustness, "cells_removed")
    report["controls"] = evaluation.controls_by_view(views, parts["train"], tests)
    if finished.start is not None:
        say("linear probe on frozen start features")
        report["controls"]["linear_probe"] = probe_accuracies(
            Views(parts["train"].pixels, parts["train"].targets, spec=finished.spec, seed=12),
            views,
            start=finished.start,
            normalisation=finished.normalisation,
            # The probe reads slowly; of single cells the views that matter most.
            views=tests if finished.spec.cell_context is None else PROBED_CELL_VIEWS,
        )
    plain = evaluation.read_view(classifier, views, "plain")
    say("pictures that are no smear")
    report["ood"] = evaluation.against_outliers(
        plain.distances, _distances(classifier, _no_smears(finished.spec.input_px))
    )
    report["elsewhere"] = {
        folder.name: _measure_elsewhere(classifier, folder) for folder in finished.elsewhere
    }
    for kind, folder in finished.other_kinds.items():
        if folder.is_dir():
            pictures = [load_pixels(p) for p in sorted(folder.iterdir())[:150]]
            report.setdefault("other_kinds", {})[kind] = evaluation.against_outliers(
                plain.distances, _distances(classifier, pictures)
            )
    return report


def _measure_elsewhere(classifier: Classifier, folder: Path) -> dict[str, Any]:
    """Another laboratory's cells that played no part in training."""
    tiles, targets = as_tiles(parted(read_cell_set(folder))[1], classifier.manifest.codes)
    report = evaluation.evaluate(classifier, Material(tiles, targets), robustness=False)
    keys = ("n", "accuracy", "coverage", "accuracy_on_kept")
    return {key: report[key] for key in keys}


def _no_smears(side_px: int) -> list[NDArray[np.uint8]]:
    kinds = synthesis.KINDS
    return [synthesis.not_a_smear(kinds[i % len(kinds)], 1000 + i, side_px) for i in range(240)]


def _distances(classifier: Classifier, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    spec = classifier.manifest.preprocess
    readings = (classifier.read(prepare(p, spec).network_input) for p in pictures)
    return np.array([reading.ood_distance for reading in readings])


def _headline(metrics: dict[str, Any]) -> dict[str, Any]:
    keys = ("n", "accuracy", "balanced_accuracy", "macro_f1", "kappa", "ece", "coverage")
    kept = {key: metrics[key] for key in keys}
    return kept | {key: metrics[key] for key in ("robustness", "cells_removed", "ood")}


def _draw(classifier: Classifier, test: Material, folder: Path) -> None:
    classes = classifier.manifest.classes
    views = Views(test.pixels, test.targets, spec=classifier.manifest.preprocess, seed=7)
    plain = evaluation.read_view(classifier, views, "plain")
    calls = plain.probabilities.argmax(axis=1)
    confidence, right = plain.probabilities.max(axis=1), calls == test.targets
    confusion = statistics.confusion_matrix(test.targets, calls, len(classes))
    figures.draw_confusion(confusion, classes, folder / "confusion.svg")
    figures.draw_reliability(confidence, right, folder / "reliability.svg")
    figures.draw_roc(plain.probabilities, test.targets, classes, folder / "roc.svg")
    figures.draw_precision_recall(plain.probabilities, test.targets, classes, folder / "pr.svg")
    figures.draw_risk_coverage(confidence, right, folder / "risk_coverage.svg")
