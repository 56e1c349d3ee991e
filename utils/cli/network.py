"""``flask network``: train, measure, list and export networks.

TensorFlow, matplotlib and scikit-learn are imported within the commands that
need them: the web process registers these commands and must stay small.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from utils.cli.command import new_group, print_json
from utils.errors import DatasetInvalid, InvalidInput
from utils.networks import registry
from utils.networks.normalisation import CAFFE, IMAGENET
from utils.networks.recipes import DEFAULT, RECIPES
from utils.web.services import services

if TYPE_CHECKING:
    from utils.networks.dataset import Example, Split
    from utils.networks.evaluation import Material

group = new_group("network", "Train, measure, list and export networks.")

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
ORIGINS = "origins.json"


def _models() -> Path:
    return services().settings.models_dir


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_networks(as_json: bool) -> None:
    """List the trained networks and which version of each serves."""
    rows = []
    for manifest in registry.list_networks(_models()):
        serves = registry.current_version(_models(), manifest.name) == manifest.version
        rows.append(
            {
                "name": manifest.name,
                "version": manifest.version,
                "serves": serves,
                "created_at": manifest.created_at,
                "classes": manifest.codes,
                "accuracy": manifest.metrics.get("accuracy"),
                "weights_sha256": manifest.weights_sha256,
            }
        )
    if as_json:
        print_json({"networks": rows})
        return
    for row in rows:
        mark = "serves" if row["serves"] else "      "
        accuracy = "" if row["accuracy"] is None else f"accuracy {row['accuracy']:.3f}"
        click.echo(f"{row['name']:<12}{row['version']:<16}{mark}  {accuracy}")
    if not rows:
        click.echo("No trained network is installed.")


@group.command("train")
@click.option("--name", default="all4", show_default=True, help="Name of the network.")
@click.option("--data", type=FOLDER, required=True, help="Folder of class folders.")
@click.option("--weights", required=True, help="Start weights: a file, imagenet, or none.")
@click.option("--from", "parent", help="Go on from a trained network, on its split.")
@click.option("--recipe", default=DEFAULT, show_default=True, type=click.Choice(sorted(RECIPES)))
@click.option(
    "--loss", type=click.Choice(["cross_entropy", "focal"]), help="In place of the recipe's."
)
@click.option("--class-weights", type=click.Choice(["balanced", "none"]), help="Likewise.")
@click.option("--version", help="Version to write; the day by default.")
@click.option("--run", type=click.Path(path_type=Path), help="Folder of the checkpoints.")
@click.option("--outliers", type=FOLDER, multiple=True, help="Class folders to learn as “none”.")
@click.option("--other-kinds", type=FOLDER, multiple=True, help="Folders to test “none” with.")
@click.option(
    "--elsewhere",
    type=FOLDER,
    multiple=True,
    help="Sets of other laboratories' cells to learn too.",
)
@click.option("--block", default=40, show_default=True, help="File numbers that stay together.")
@click.option("--seed", default=1, show_default=True, help="Of the split and the training.")
def train(
    name: str,
    data: Path,
    weights: str,
    parent: str | None,
    recipe: str,
    loss: str | None,
    class_weights: str | None,
    version: str | None,
    run: Path | None,
    outliers: tuple[Path, ...],
    other_kinds: tuple[Path, ...],
    elsewhere: tuple[Path, ...],
    block: int,
    seed: int,
) -> None:
    """Fine-tune a network and publish it. Interrupted, the same command goes on."""
    from utils.networks import publish, training
    from utils.networks.dataset import list_folder

    start = _start_weights(weights)
    chosen = RECIPES[recipe]
    if elsewhere and chosen.spec.cell_context is None:
        raise InvalidInput("--elsewhere goes with a recipe for single cells.")
    chosen = replace(chosen, **_given(loss=loss, class_weights=class_weights))
    run = run or Path("runs") / name
    # Not the classes of the version that serves: a new label set is tried by training with it.
    classes = registry.listed_label_set(_models(), name)
    examples = list_folder(data)
    before = registry.find(_models(), parent) if parent else None
    split = _split(run, examples, before, seed=seed, block=block)
    finished = publish.Finished(
        name=name,
        version=version or datetime.now(UTC).strftime("%Y.%m.%d"),
        run=run,
        examples=examples,
        split=split,
        classes=classes,
        normalisation=CAFFE if weights == "imagenet" else IMAGENET,
        spec=chosen.spec,
        start=start,
        parent=f"{parent} {before.name}" if before else None,
        origin=_origin(name, data),
        training_outliers=outliers,
        other_kinds={folder.name: folder for folder in other_kinds},
        elsewhere=elsewhere,
    )
    material = publish.training_material(finished, chosen, seed=seed)
    training.train(
        material,
        chosen,
        start=before / registry.GRAPH if before else start,
        run=run,
        normalisation=finished.normalisation,
        seed=seed,
        say=click.echo,
    )
    folder = publish.publish(finished, _models(), say=click.echo)
    click.echo(f"Published and serving: {folder.parent.name} {folder.name}.")


def _given(**options: str | None) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _start_weights(weights: str) -> str | None:
    if weights == "none":
        return None
    if weights != "imagenet" and not Path(weights).is_file():
        raise InvalidInput(f"Expected a weights file, imagenet or none; {weights} is no file.")
    return weights


def _origin(name: str, data: Path) -> Any:
    from utils.networks.card import Origin

    path = _models() / name / ORIGINS
    if path.is_file():
        return Origin(**json.loads(path.read_text(encoding="utf-8")))
    unknown = "not stated."
    return Origin(
        dataset=f"the folder {data.name}.",
        licence=unknown,
        start=unknown,
        start_licence=unknown,
        outliers=unknown,
        domain=f"folder {data.name}",
    )


def _split(
    run: Path, examples: list[Example], before: Path | None, *, seed: int, block: int
) -> Split:
    from utils.networks.dataset import Split, split_by_group

    path = run / "split.json"
    if path.is_file():
        # A run that goes on must keep its split, or training pictures become test pictures.
        return Split.load(path)
    run.mkdir(parents=True, exist_ok=True)
    if before is not None:
        split = Split.load(before / "split.json")
    else:
        split = split_by_group(examples, seed=seed, block=block)
    split.save(path)
    return split


@group.command("evaluate")
@click.argument("name")
@click.option("--version", help="The one that serves by default.")
@click.option("--dataset", type=FOLDER, required=True, help="Class folders, or a set of cells.")
@click.option("--part", type=click.Choice(["train", "validation", "test"]), help="Of the split.")
@click.option("--robustness", is_flag=True, help="Also swapped, grey, degraded, without cells.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(
    name: str, version: str | None, dataset: Path, part: str | None, robustness: bool, as_json: bool
) -> None:
    """Measure a network on a labelled folder, by the serving engine."""
    import os

    from utils.networks import evaluation
    from utils.networks.dataset import Split, list_folder

    folder = registry.find(_models(), name, version)
    classifier = registry.load_classifier(_models(), name, folder.name, threads=os.cpu_count() or 1)
    codes, groups, known = classifier.manifest.codes, None, None
    if (dataset / "images").is_dir():
        material = _cells_elsewhere(dataset, codes, part)
        examples = None
    else:
        examples = list_folder(dataset)
    if part is not None and examples is not None:
        split = Split.load(folder / "split.json")
        known = evaluation.load_material(split.select(examples, "train"), codes)
        examples = split.select(examples, part)  # type: ignore[arg-type]
        groups = [split.groups[e.sha256] for e in examples]
    if examples is not None:
        if not examples:
            raise DatasetInvalid(f"No picture belongs to the {part} part of this network.")
        material = evaluation.load_material(examples, codes)
    report = evaluation.evaluate(
        classifier,
        material,
        robustness=robustness,
        groups=groups,
        known=known if known is not None and known.pixels else None,
        say=lambda line: click.echo(line, err=True),
    )
    report = {"network": {"name": name, "version": folder.name}, **report}
    if as_json:
        print_json(report)
    else:
        _print_report(report)


def _cells_elsewhere(dataset: Path, codes: list[str], part: str | None) -> Material:
    """Cells of another laboratory's set, each through the serving path."""
    from utils.networks.cell_sets import as_tiles, parted, read_cell_set
    from utils.networks.evaluation import Material

    pictures = read_cell_set(dataset)
    if part == "validation":
        raise InvalidInput("A set of cells has two parts, train and test.")
    if part is not None:
        pictures = parted(pictures)[part == "test"]
    return Material(*as_tiles(pictures, codes))


def _print_report(report: dict[str, Any]) -> None:
    for key in ("n", "accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "kappa", "ece"):
        click.echo(f"{key:<22}{report[key]:.4g}")
    for key in ("accuracy_on_surest_80", "coverage", "accuracy_on_kept"):
        value = report[key]
        click.echo(f"{key:<22}{'none kept' if value is None else format(value, '.4g')}")
    for block in ("controls", "robustness", "cells_removed"):
        for key, value in (report[block] or {}).items():
            click.echo(f"{block + '.' + key:<40}{value:.4g}")
    for code, row in report["per_class"].items():
        click.echo(
            f"{code:<10} precision {row['precision']:.3f}  recall {row['recall']:.3f}  "
            f"F1 {row['f1']:.3f}  n {row['support']}"
        )


@group.command("export")
@click.argument("name")
@click.option("--version", help="The one that serves by default.")
@click.option("--to", "target", type=click.Path(file_okay=False, path_type=Path), required=True)
def export(name: str, version: str | None, target: Path) -> None:
    """Write a network as Keras `.keras` and `.h5`, for those who go on elsewhere."""
    from utils.networks import export as exporting

    folder = registry.find(_models(), name, version)
    target.mkdir(parents=True, exist_ok=True)
    for file in exporting.write_keras(exporting.from_graph(folder / registry.GRAPH), target):
        click.echo(f"{file} ({file.stat().st_size / 1e6:.0f} MB)")
