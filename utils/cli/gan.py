"""``flask gan``: train a generator of synthetic fields, sample it, and judge its pictures.

TensorFlow is imported within the commands that need it: the web process registers these commands
and must stay small.
"""

from __future__ import annotations

import hashlib
import json
import signal
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from utils.cli.background import go_behind
from utils.cli.command import new_group, print_json
from utils.errors import InvalidInput, MarrowFindError
from utils.networks import checkpoints, registry
from utils.networks.gan import generator as generators
from utils.networks.gan.presets import DEFAULT, PRESETS
from utils.settings import load_settings

if TYPE_CHECKING:
    from utils.networks.dataset import Example, Split
    from utils.networks.gan.evaluation import Real, Ruler
    from utils.networks.gan.presets import Preset
    from utils.networks.gan.training import Progress, Training

SPLIT = "split.json"
# A field network whose split names fewer of the files than this was trained on other ones.
_SAME_SET = 0.99
# Real pictures of each class that a training is watched with.
WATCHED = 60
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

group = new_group("gan", "Train, sample and judge a generator of synthetic fields.")


class Teller:
    """Says how far a command is: a line to read, or a JSON object for the worker that started it.

    A command of a worker's also goes behind everything else and ends with the worker.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        if as_json:
            go_behind()
        self._last = ""

    def __call__(self, done: int, total: int, message: str) -> None:
        if self.as_json:
            line = json.dumps({"done": done, "total": total, "message": message})
        else:
            line = message
        if line != self._last:
            click.echo(line, err=not self.as_json)
        self._last = line


@group.command("train")
@click.option("--data", type=FOLDER, required=True, help="Folder of class folders.")
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--class", "codes", multiple=True, help="Classes to learn; all by default.")
@click.option("--preset", default=DEFAULT, show_default=True, type=click.Choice(sorted(PRESETS)))
@click.option("--epochs", type=click.IntRange(1, 10_000), help="In place of the preset's.")
@click.option("--seed", default=1, show_default=True, help="Of the training.")
@click.option("--ruler", default="all4", show_default=True, help="Field network that measures.")
@click.option("--progress", "as_json", is_flag=True, help="Print progress as JSON lines.")
def train(
    data: Path,
    run: Path,
    codes: tuple[str, ...],
    preset: str,
    epochs: int | None,
    seed: int,
    ruler: str,
    as_json: bool,
) -> None:
    """Train a generator on the training part of a set. Interrupted, the same command goes on."""
    from utils.networks.gan import training
    from utils.networks.gan.material import thinned

    tell = Teller(as_json)
    chosen = PRESETS[preset]
    real, _, listed = _real(data, run, codes, chosen.side_px, ruler)
    names = _names(ruler, listed)
    stop: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda number, frame: stop.append(number))
    # Distances while it trains rest on a part of the pictures: all take minutes to read.
    measured = _ruler(
        ruler,
        replace(
            real,
            train=thinned(real.train, WATCHED),
            unseen=thinned(real.unseen, WATCHED),
            unseen_groups=(),
        ),
    )

    def say(at: Progress) -> None:
        left = "" if at.left_s is None else f", about {_spoken(at.left_s)} left"
        tell(
            at.epoch * at.steps + at.step,
            at.epochs * at.steps,
            f"Epoch {min(at.epoch + 1, at.epochs)} of {at.epochs}{left}",
        )

    job = training.Training(
        real.train, chosen, run, epochs=epochs or chosen.epochs, seed=seed, names=names
    )
    try:
        job.go(
            measure=measured.quick if measured is not None else None,
            tell=say,
            must_stop=lambda: bool(stop),
        )
    except training.Interrupted:
        click.echo("Stopped; the same command goes on from here.", err=True)
        raise SystemExit(128 + stop[0]) from None
    _publish(job, chosen, run, data.name, tuple(listed), tuple(names), seed)
    steps = job.progress.steps * job.progress.epoch
    tell(steps, steps, "Done")


def _publish(
    job: Training,
    preset: Preset,
    run: Path,
    trained_on: str,
    codes: tuple[str, ...],
    names: tuple[str, ...],
    seed: int,
) -> None:
    """Write the generator beside its checkpoints, and what it is."""
    from utils.networks.gan.export import export_generator

    graph = export_generator(job.best, preset).SerializeToString()
    about = generators.About(
        run=run.name,
        preset=preset.name,
        side_px=preset.side_px,
        codes=codes,
        names=names,
        trained_on=trained_on,
        pictures={c: int((job.fields.targets == i).sum()) for i, c in enumerate(codes)},
        split_sha256=hashlib.sha256((run / SPLIT).read_bytes()).hexdigest(),
        epochs=job.progress.epoch,
        seed=seed,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        weights_sha256=hashlib.sha256(graph).hexdigest(),
    )
    checkpoints.replace_bytes(run / generators.GRAPH, graph)
    # The description is written last: a generator without it does not exist.
    about.save(run)


@group.command("sample")
@click.argument("run", type=FOLDER)
@click.option("--class", "code", required=True, help="Code of the class.")
@click.option("--count", default=100, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--to", "target", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--seed", default=2024, show_default=True, help="The same seed, the same pictures.")
@click.option("--progress", "as_json", is_flag=True, help="Print progress as JSON lines.")
def sample(run: Path, code: str, count: int, target: Path, seed: int, as_json: bool) -> None:
    """Write synthetic pictures of a class, marked as such. Interrupted, it goes on."""
    import os

    from utils.networks.gan.samples import write_samples

    tell = Teller(as_json)
    generator = generators.Generator(run, threads=os.cpu_count() or 1)
    written = write_samples(
        generator,
        code,
        count,
        target,
        seed=seed,
        tell=lambda done: tell(done, count, f"{done} of {count} pictures of {code}"),
    )
    if not as_json:
        click.echo(f"{written.made} pictures written, {written.found} were there already.")


@group.command("evaluate")
@click.argument("run", type=FOLDER)
@click.option("--data", type=FOLDER, required=True, help="The set that it was trained on.")
@click.option("--ruler", default="all4", show_default=True, help="Field network that measures.")
@click.option("--per-class", default=200, show_default=True, type=click.IntRange(20, 5000))
@click.option("--gate", "with_gate", is_flag=True, help="Also whether its pictures may train.")
@click.option("--gate-seeds", default=3, show_default=True, type=click.IntRange(1, 20))
@click.option("--gate-epochs", default=24, show_default=True, type=click.IntRange(1, 500))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--progress", "as_lines", is_flag=True, help="Print progress as JSON lines.")
def evaluate(
    run: Path,
    data: Path,
    ruler: str,
    per_class: int,
    with_gate: bool,
    gate_seeds: int,
    gate_epochs: int,
    as_json: bool,
    as_lines: bool,
) -> None:
    """Distances, memorisation, probe, training on synthetic pictures alone; and the gate."""
    import os

    from utils.networks.gan import evaluation

    tell = Teller(as_lines)
    generator = generators.Generator(run, threads=os.cpu_count() or 1)
    about = generator.about
    real, split, _ = _real(data, run, about.codes, about.side_px, ruler)
    measured = _ruler(ruler, real)
    if measured is None:
        raise InvalidInput(f"There is no network {ruler} to measure with.")
    report = evaluation.evaluate(
        measured,
        generator,
        run,
        per_class=per_class,
        say=lambda line: tell(0, 0, line),
    )
    checkpoints.replace(run / evaluation.REPORT, json.dumps(report, indent=1))
    report["gate"] = None
    if with_gate:
        report["gate"] = _judge(generator, real, split, data, run, gate_seeds, gate_epochs, tell)
    if as_json:
        print_json(report)
    elif not as_lines:
        _print_report(report)


def _judge(
    generator: generators.Generator,
    real: Real,
    split: Split,
    data: Path,
    run: Path,
    seeds: int,
    epochs: int,
    tell: Teller,
) -> dict[str, Any]:
    from dataclasses import asdict

    import numpy as np

    from utils.networks.dataset import list_folder
    from utils.networks.gan import gate
    from utils.networks.gan.material import Fields

    codes = generator.about.codes
    wanted = gate.missing(real.train.targets, codes)
    pixels, targets = [], []
    for label, code in enumerate(codes):
        drawn = list(generator.draw(code, range(wanted[code]), seed=7))
        pixels += drawn
        targets += [label] * len(drawn)
    if not pixels:
        raise InvalidInput("Every class is as large as the largest: nothing is to be added.")
    made = Fields(np.stack(pixels), np.array(targets, np.int64), codes)
    train = [e for e in split.select(list_folder(data), "train") if e.code in codes]
    verdict = gate.judge(
        real.train,
        [split.groups[e.sha256] for e in train],
        real.unseen,
        real.unseen_groups,
        made,
        weights_sha256=generator.about.weights_sha256,
        seeds=range(1, seeds + 1),
        epochs=epochs,
        say=lambda line: tell(0, 0, line),
    )
    gate.save(verdict, run)
    return asdict(verdict) | {"sentence": verdict.sentence}


def _real(
    data: Path, run: Path, codes: tuple[str, ...], side_px: int, ruler: str
) -> tuple[Real, Split, list[str]]:
    """Real fields on both sides of the run's split; the split; the classes."""
    from utils.networks.dataset import list_folder
    from utils.networks.gan.evaluation import Real
    from utils.networks.gan.material import load_fields

    examples = list_folder(data)
    listed = list(codes) or sorted({e.code for e in examples})
    split = _split(run, examples, ruler)
    train = split.select(examples, "train")
    unseen = [e for part in ("validation", "test") for e in split.select(examples, part)]
    kept = [e for e in unseen if e.code in listed]
    return (
        Real(
            load_fields(train, listed, side_px),
            load_fields(kept, listed, side_px),
            [split.groups[e.sha256] for e in kept],
        ),
        split,
        listed,
    )


def _split(run: Path, examples: list[Example], ruler: str) -> Split:
    """The run's own split; at its start that of the network that measures, where it knows the set.

    What measures must not know the unseen pictures either.
    """
    from utils.networks.dataset import Split, split_by_group

    path = run / SPLIT
    if path.is_file():
        return Split.load(path)
    run.mkdir(parents=True, exist_ok=True)
    split = None
    if registry.current_version(_models(), ruler) is not None:
        theirs = registry.find(_models(), ruler) / SPLIT
        known = Split.load(theirs) if theirs.is_file() else None
        if known and sum(e.sha256 in known.parts for e in examples) >= _SAME_SET * len(examples):
            split = known
    split = split or split_by_group(examples, seed=1)
    split.save(path)
    return split


def _ruler(name: str, real: Real) -> Ruler | None:
    import os

    from utils.networks.gan.evaluation import Ruler

    if registry.current_version(_models(), name) is None:
        return None
    classifier = registry.load_classifier(_models(), name, threads=os.cpu_count() or 1)
    return Ruler(classifier, real)


def _names(network: str, codes: list[str]) -> list[str]:
    known: dict[str, str] = {}
    with suppress(MarrowFindError):  # a set of one's own may have no label set
        labels = registry.listed_label_set(_models(), network)
        known = {label.code: label.short_name for label in labels}
    return [known.get(code, code) for code in codes]


def _models() -> Path:
    return load_settings().models_dir


def _spoken(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return "a minute"
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def _print_report(report: dict[str, Any]) -> None:
    click.echo(f"measured by {report['ruler']}, {report['pictures']} pictures of each class")
    click.echo(f"{'':<12}{'kernel (floor)':<22}{'Fréchet (floor)':<22}{'precision':<12}recall")
    for name, row in [*report["per_class"].items(), ("all", report["all"])]:
        click.echo(
            f"{name:<12}"
            + f"{row['kernel']:.3f} ({row['kernel_floor']:.3f})".ljust(22)
            + f"{row['frechet']:.1f} ({row['frechet_floor']:.1f})".ljust(22)
            + f"{row['precision']:.2f} ({row['precision_floor']:.2f})".ljust(12)
            + f"{row['recall']:.2f} ({row['recall_floor']:.2f})"
        )
    learned = report["memorised"]
    click.echo(
        f"nearer to a training picture than 95 % of unseen real ones: {learned['share']:.3f} "
        f"(0.05 expected); AUROC {learned['auroc']:.3f}"
    )
    probe, alone = report["probe"], report["trained_on"]
    click.echo(f"a linear rule tells them apart: AUROC {probe['auroc']:.3f} ({probe['floor']:.3f})")
    click.echo(
        f"trained on synthetic alone: {alone['synthetic']:.3f} on unseen real fields "
        f"(on real ones: {alone['real']:.3f})"
    )
    if report["gate"] is not None:
        click.echo(report["gate"]["sentence"])
