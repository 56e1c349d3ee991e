"""Fine-tuning with checkpoints: interrupted at any moment, it goes on from the last epoch."""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from utils.networks import checkpoints
from utils.networks.architecture import build_classifier, load_start_weights
from utils.networks.export import from_graph
from utils.networks.normalisation import Normalisation
from utils.networks.recipes import Recipe
from utils.networks.views import Views

Say = Callable[[str], None]


class Pictures(Protocol):
    """Training pictures: whole fields (`augmentation.Fields`) or `cell_augmentation.Cells`."""

    targets: NDArray[np.int64]
    strength: Any

    def __len__(self) -> int: ...

    def draw(
        self, number: int, *, input_px: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Draw a changed picture and its target."""
        ...


@dataclass(frozen=True)
class Material:
    """What a training reads.

    Attributes
    ----------
    pictures : Pictures
        To train on.
    validation : Views
        Validation pictures, plain and changed.
    classes : tuple of str
        Class codes, in the order of the logits.
    """

    pictures: Pictures
    validation: Views
    classes: tuple[str, ...]


@dataclass
class _State:
    """Where a training stands; written beside each checkpoint."""

    epoch: int = 0
    best_epoch: int = -1
    best_score: float = -math.inf
    seconds: float = 0.0


def train(
    material: Material,
    recipe: Recipe,
    *,
    start: str | Path | None,
    run: Path,
    normalisation: Normalisation,
    seed: int,
    say: Say = print,
) -> Path:
    """Fine-tune all layers; return the best epoch's weights.

    Parameters
    ----------
    material : Material
    recipe : Recipe
    start : str or Path or None
        ``imagenet``, a weights file, the graph of a trained network, or None for
        random weights.
    run : Path
        Folder of this run's checkpoints. A run that is found there goes on.
    normalisation : Normalisation
        Of the start weights.
    seed : int
    say : callable
        Takes a line of progress.

    Returns
    -------
    weights : Path
        Weights of the epoch with the best validation score.
    """
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if recipe.bfloat16 else "float32")
    network, state = _open_run(material, recipe, start=start, run=run, say=say)
    sides = [side for side, epochs in recipe.stages for _ in range(epochs)]
    steps = math.ceil(len(material.pictures) / recipe.batch)
    for epoch in range(state.epoch, len(sides)):
        started = time.monotonic()
        if recipe.settled is not None and epoch >= len(sides) - recipe.settling:
            material.pictures.strength = recipe.settled
        batches = _batches(material, recipe, sides[epoch], normalisation, seed, epoch)
        # Dropout draws from a state that no checkpoint holds: set for each epoch,
        # a training that was killed goes on as if it had not been.
        network.get_layer("dropout").seed_generator.state.assign([seed, epoch])
        losses = []
        for step, (pixels, targets, weights) in enumerate(_ahead(batches)):
            rate = _rate(recipe, epoch * steps + step, len(sides) * steps)
            network.optimizer.learning_rate.assign(rate)
            losses.append(float(network.train_on_batch(pixels, targets, sample_weight=weights)))
            if step % 20 == 19:
                _say_progress(say, epoch, step, steps, len(sides), started, losses)
        final_stage = sides[epoch] == sides[-1]
        with _averaged(network):
            scores = material.validation.score(
                network, sides[epoch], normalisation, quick=not final_stage
            )
            if final_stage and scores["score"] > state.best_score:
                state.best_epoch, state.best_score = epoch, scores["score"]
                _write(run / "best.weights.h5", network.save_weights)
        state.seconds += time.monotonic() - started
        state.epoch = epoch + 1
        row = {"epoch": epoch, "side_px": sides[epoch], "loss": float(np.mean(losses)), **scores}
        _close_epoch(network, run, state, row)
        say(_sentence(row, state, len(sides)))
        if final_stage and epoch - state.best_epoch >= recipe.patience:
            say(f"No better epoch in {recipe.patience}: stopped early.")
            break
    return run / "best.weights.h5"


def _open_run(
    material: Material, recipe: Recipe, *, start: str | Path | None, run: Path, say: Say
) -> tuple[keras.Model, _State]:
    network = build_classifier(len(material.classes))
    network.compile(_optimiser(recipe), _loss(recipe), jit_compile=False)
    network.optimizer.build(network.trainable_variables)
    written = checkpoints.read_state(run)
    recorded = json.dumps({"recipe": asdict(recipe), "classes": material.classes}, indent=1)
    if written is not None and (run / "recipe.json").read_text() == recorded:
        with np.load(run / written.pop("checkpoint")) as saved:
            network.set_weights([saved[f"w{i}"] for i in range(len(network.weights))])
            for i, variable in enumerate(network.optimizer.variables):
                variable.assign(saved[f"o{i}"])
        state = _State(**written)
        _forget_rows(run / "log.jsonl", state.epoch)
        say(f"Going on after epoch {state.epoch}.")
        return network, state
    (run / "log.jsonl").unlink(missing_ok=True)
    (run / "recipe.json").write_text(recorded)
    if start is not None and Path(start).suffix == ".onnx":
        network.set_weights(from_graph(Path(start)).get_weights())
    elif start is not None:
        load_start_weights(network, start)
    return network, _State()


def _forget_rows(log: Path, epochs: int) -> None:
    """Drop the row of an epoch whose checkpoint was not written any more: it comes again."""
    rows = log.read_text(encoding="utf-8").splitlines()
    checkpoints.replace(log, "".join(f"{row}\n" for row in rows[:epochs]))


def _close_epoch(network: keras.Model, run: Path, state: _State, row: dict[str, Any]) -> None:
    arrays = {f"w{i}": w for i, w in enumerate(network.get_weights())}
    values = enumerate(network.optimizer.variables)
    arrays |= {f"o{i}": np.asarray(keras.ops.convert_to_numpy(v)) for i, v in values}
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps(row) + "\n")
    checkpoints.write(run, f"epoch-{state.epoch:03d}.npz", arrays, asdict(state))


def _write(path: Path, save: Callable[[str], None]) -> None:
    partial = path.with_name("partial." + path.name)
    save(str(partial))
    partial.rename(path)


@contextmanager
def _averaged(network: keras.Model) -> Iterator[None]:
    """Put the running mean of the weights in their place for a while."""
    optimiser = network.optimizer
    if not optimiser.use_ema:
        yield
        return
    # Keras' own SwapEMAWeights does this from a callback of `fit`, which has no
    # way to go on from a checkpoint within a schedule.
    averages = optimiser._model_variables_moving_average
    trained = [v.numpy() for v in network.trainable_variables]
    for variable, average in zip(network.trainable_variables, averages, strict=True):
        variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(network.trainable_variables, trained, strict=True):
            variable.assign(value)


def _optimiser(recipe: Recipe) -> keras.optimizers.Optimizer:
    ema: dict[str, Any] = {}
    if recipe.average:
        ema = {"use_ema": True, "ema_momentum": recipe.average}
    if recipe.optimiser == "adam":
        return keras.optimizers.Adam(recipe.learning_rate, **ema)
    return keras.optimizers.AdamW(
        recipe.learning_rate, weight_decay=recipe.weight_decay, clipnorm=5.0, **ema
    )


def _loss(recipe: Recipe) -> keras.losses.Loss:
    if recipe.loss == "focal":
        return keras.losses.CategoricalFocalCrossentropy(from_logits=True)
    # With one-hot targets this is the published sparse categorical cross-entropy;
    # the pictures without cells need the dense form.
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.smoothing)


def _rate(recipe: Recipe, step: int, total: int) -> float:
    warm = recipe.warm_up * total
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    if not recipe.cosine:
        return recipe.learning_rate
    done = (step - warm) / max(total - warm, 1)
    return recipe.learning_rate * max(0.01, 0.5 * (1 + math.cos(math.pi * done)))


def _batches(
    material: Material,
    recipe: Recipe,
    side: int,
    normalisation: Normalisation,
    seed: int,
    epoch: int,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
    source, classes = material.pictures, len(material.classes)
    counts = np.bincount(source.targets, minlength=classes)
    balance = len(source) / (classes * np.maximum(counts, 1))
    if recipe.class_weights == "none":
        balance = np.ones(classes)
    order = np.random.default_rng([seed, epoch]).permutation(len(source))
    for first in range(0, len(order), recipe.batch):
        pixels, targets, weights = [], [], []
        for number in order[first : first + recipe.batch]:
            rng = np.random.default_rng([seed, epoch, int(number)])
            picture, target = source.draw(int(number), input_px=side, rng=rng)
            pixels.append(normalisation.apply(picture))
            targets.append(target)
            # A uniform target belongs to no class and takes no class's weight.
            single = target.max() > 0.99
            weights.append(balance[int(target.argmax())] if single else 1.0)
        yield np.stack(pixels), np.stack(targets), np.array(weights, dtype=np.float32)


def _ahead(batches: Iterator[Any], depth: int = 4) -> Iterator[Any]:
    """Draw batches in a thread while the network computes."""
    line: queue.Queue[Any] = queue.Queue(depth)
    end = object()

    def fill() -> None:
        cv2.setNumThreads(1)
        try:
            for batch in batches:
                line.put(batch)
            line.put(end)
        except BaseException as error:  # handed to the reader, not swallowed
            line.put(error)

    threading.Thread(target=fill, daemon=True).start()
    while (batch := line.get()) is not end:
        if isinstance(batch, BaseException):
            raise batch
        yield batch


def _say_progress(
    say: Say, epoch: int, step: int, steps: int, epochs: int, started: float, losses: list[float]
) -> None:
    each = (time.monotonic() - started) / (step + 1)
    left = each * (steps - step - 1) + each * steps * (epochs - epoch - 1)
    say(
        f"  epoch {epoch + 1}/{epochs} step {step + 1}/{steps}"
        f" loss {np.mean(losses[-20:]):.3f}, about {left / 60:.0f} min left"
    )


def _sentence(row: dict[str, Any], state: _State, epochs: int) -> str:
    shown = ", ".join(f"{k} {v:.3f}" for k, v in row.items() if isinstance(v, float))
    left = state.seconds / state.epoch * (epochs - state.epoch)
    where = f"epoch {row['epoch'] + 1}/{epochs} at {row['side_px']} px"
    return f"{where}: {shown}; {left / 60:.0f} min left"
