"""Training of generator and discriminator, with checkpoints: killed, it goes on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from utils.networks import checkpoints
from utils.networks.gan.architecture import build_discriminator, build_generator
from utils.networks.gan.changes import change
from utils.networks.gan.material import Fields, turned
from utils.networks.gan.presets import NOISE, Preset
from utils.networks.gan.sheets import draw_sheet, write_synthetic

RECIPE, LOG, SHEETS = "recipe.json", "log.jsonl", "sheets"
# A sheet shows so many pictures of each class, always from the same noise.
SHOWN = 6
CHECKPOINT_S = 120.0

Rows = dict[str, float]
Measure = Callable[[Callable[[int, int, int], NDArray[np.uint8]]], Rows]


class Interrupted(Exception):
    """The training was asked to stop; its checkpoint is written."""


@dataclass
class Progress:
    """Where a training stands.

    Attributes
    ----------
    epoch : int
        Whole epochs that are done.
    step : int
        Steps of the next one that are done.
    steps : int
        Of an epoch.
    epochs : int
    seconds : float
        Spent training, over all interruptions.
    losses : list of float
        Sums over the steps of the epoch that is not over: generator, discriminator.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0
    losses: tuple[float, float] = (0.0, 0.0)

    @property
    def share(self) -> float:
        """How much of all is done, 0 to 1."""
        return (self.epoch + self.step / max(self.steps, 1)) / max(self.epochs, 1)

    @property
    def left_s(self) -> float | None:
        """Seconds left at the pace so far; None before there is a pace."""
        return self.seconds * (1 - self.share) / self.share if self.share > 0 else None


class Training:
    """One training; a run that is found in the folder goes on.

    Parameters
    ----------
    fields : Fields
    preset : Preset
    run : Path
        Folder of checkpoints, log and sheets.
    epochs, seed : int
    names : list of str
        Of the classes, for the sheets.
    """

    def __init__(
        self,
        fields: Fields,
        preset: Preset,
        run: Path,
        *,
        epochs: int,
        seed: int,
        names: list[str],
    ) -> None:
        self.fields, self.preset, self.run, self.seed, self.names = fields, preset, run, seed, names
        keras.config.set_dtype_policy("float32")
        keras.utils.set_random_seed(seed)
        classes = len(fields.codes)
        self.generator = build_generator(preset, classes)
        self.averaged = build_generator(preset, classes)
        self.averaged.set_weights(self.generator.get_weights())
        self.discriminator = build_discriminator(preset, classes)
        beta_1, beta_2 = preset.betas
        self.for_generator = keras.optimizers.Adam(preset.generator_rate, beta_1, beta_2)
        self.for_discriminator = keras.optimizers.Adam(preset.discriminator_rate, beta_1, beta_2)
        self.for_generator.build(self.generator.trainable_variables)
        self.for_discriminator.build(self.discriminator.trainable_variables)
        self.progress = Progress(steps=max(1, len(fields) // preset.batch), epochs=epochs)
        self._step = tf.function(self._train_step)
        self._open()

    @property
    def best(self) -> keras.Model:
        """The generator that is sampled: of averaged weights, where the preset averages."""
        return self.averaged if self.preset.average else self.generator

    def go(
        self,
        *,
        measure: Measure | None = None,
        measure_every: int = 5,
        tell: Callable[[Progress], None] = lambda progress: None,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train from where it stands to the end.

        Parameters
        ----------
        measure : callable, optional
            Given a sampler (class, count, seed) -> (count, S, S, 3) uint8, measures it; its
            numbers go into the log.
        measure_every : int
            Epochs.
        tell : callable
            Is told at each step.
        must_stop : callable
            Asked at each step.

        Raises
        ------
        Interrupted
            If it was asked to stop; the checkpoint is written.
        """
        at = self.progress
        last_checkpoint = time.monotonic()
        while at.epoch < at.epochs:
            for pixels, numbers, noise in self._batches():
                started = time.monotonic()
                losses = [float(v) for v in self._step(pixels, numbers, noise)]
                if not all(math.isfinite(v) for v in losses):
                    raise FloatingPointError("a loss is no number any more")
                at.losses = (at.losses[0] + losses[0], at.losses[1] + losses[1])
                at.step += 1
                at.seconds += time.monotonic() - started
                tell(at)
                if must_stop():
                    self._checkpoint()
                    raise Interrupted
                if time.monotonic() - last_checkpoint > CHECKPOINT_S:
                    self._checkpoint()
                    last_checkpoint = time.monotonic()
            self._close_epoch(measure, measure_every)
            last_checkpoint = time.monotonic()
            tell(at)

    def sample(self, number: int, count: int, seed: int) -> NDArray[np.uint8]:
        """Draw pictures of a class with the averaged weights, (count, S, S, 3)."""
        return _to_pixels(self._drawn(_noise(seed, count), np.full(count, number, np.int32)))

    def _drawn(self, noise: NDArray[np.float32], numbers: NDArray[np.int32]) -> NDArray[np.float32]:
        parts = [
            np.asarray(self.best([noise[i : i + 32], numbers[i : i + 32]], training=False))
            for i in range(0, len(noise), 32)
        ]
        return np.concatenate(parts)

    def _batches(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32], Any]]:
        """The batches of this epoch that are still to come."""
        at, batch = self.progress, self.preset.batch
        order = np.random.default_rng([self.seed, at.epoch]).permutation(len(self.fields))
        for step in range(at.step, at.steps):
            rng = np.random.default_rng([self.seed, at.epoch, step])
            chosen = order[step * batch : (step + 1) * batch]
            pictures = [self.fields.pixels[i] for i in chosen]
            if self.preset.turned:
                pictures = [turned(p, rng) for p in pictures]
            pixels = np.stack(pictures).astype(np.float32) / 127.5 - 1.0
            numbers = self.fields.targets[chosen].astype(np.int32)
            yield pixels, numbers, rng.standard_normal((len(chosen), NOISE), np.float32)

    def _train_step(self, real: Any, numbers: Any, noise: Any) -> tuple[Any, Any]:
        with tf.GradientTape(persistent=True) as tape:
            made = self.generator([noise, numbers], training=True)
            both = tf.concat([real, made], axis=0)
            if self.preset.differentiable:
                both = change(both)
            twice = tf.concat([numbers, numbers], axis=0)
            logits = self.discriminator([both, twice], training=True)
            on_real, on_made = tf.split(logits, 2)
            if self.preset.loss == "hinge":
                judged = tf.reduce_mean(tf.nn.relu(1.0 - on_real))
                judged += tf.reduce_mean(tf.nn.relu(1.0 + on_made))
                fooled = -tf.reduce_mean(on_made)
            else:
                judged = _cross_entropy(on_real, 1.0) + _cross_entropy(on_made, 0.0)
                fooled = _cross_entropy(on_made, 1.0)
        mine, yours = self.generator.trainable_variables, self.discriminator.trainable_variables
        self.for_discriminator.apply_gradients(
            zip(tape.gradient(judged, yours), yours, strict=True)
        )
        self.for_generator.apply_gradients(zip(tape.gradient(fooled, mine), mine, strict=True))
        del tape
        keep = self.preset.average
        if keep:
            pairs = zip(self.averaged.variables, self.generator.variables, strict=True)
            for mean, own in pairs:
                mean.assign(mean * keep + own * (1.0 - keep))
        return fooled, judged

    def _close_epoch(self, measure: Measure | None, every: int) -> None:
        at = self.progress
        row: dict[str, Any] = {
            "epoch": at.epoch + 1,
            "generator": at.losses[0] / at.steps,
            "discriminator": at.losses[1] / at.steps,
            "seconds": at.seconds,
        }
        # The sheet is there before the row that names it.
        row["sheet"] = self._write_sheet(at.epoch + 1)
        if measure is not None and ((at.epoch + 1) % every == 0 or at.epoch + 1 == at.epochs):
            row |= measure(self.sample)
        rows = [r for r in read_log(self.run) if r["epoch"] <= at.epoch]
        text = "".join(json.dumps(r) + "\n" for r in [*rows, row])
        checkpoints.replace(self.run / LOG, text)
        at.epoch, at.step, at.losses = at.epoch + 1, 0, (0.0, 0.0)
        self._checkpoint()

    def _write_sheet(self, epoch: int) -> str:
        numbers = np.repeat(np.arange(len(self.fields.codes), dtype=np.int32), SHOWN)
        noise = _noise(1, len(numbers))
        pictures = _to_pixels(self._drawn(noise, numbers))
        rows = [pictures[numbers == i] for i in range(len(self.fields.codes))]
        (self.run / SHEETS).mkdir(exist_ok=True)
        name = f"epoch-{epoch:04d}.png"
        write_synthetic(draw_sheet(rows, self.names), self.run / SHEETS / name)
        return name

    def _networks(self) -> dict[str, Any]:
        return {
            "g": self.generator.variables,
            "a": self.averaged.variables,
            "d": self.discriminator.variables,
            "og": self.for_generator.variables,
            "od": self.for_discriminator.variables,
        }

    def _checkpoint(self) -> None:
        at = self.progress
        arrays = {
            f"{key}{i}": np.asarray(keras.ops.convert_to_numpy(variable))
            for key, variables in self._networks().items()
            for i, variable in enumerate(variables)
        }
        name = f"checkpoint-{at.epoch:04d}-{at.step:05d}.npz"
        checkpoints.write(self.run, name, arrays, asdict(at))

    def _open(self) -> None:
        """Go on where the run stands, if it is this one."""
        self.run.mkdir(parents=True, exist_ok=True)
        recorded = json.dumps(
            {"preset": asdict(self.preset), "codes": self.fields.codes, "seed": self.seed}, indent=1
        )
        state = checkpoints.read_state(self.run)
        path = self.run / RECIPE
        if state is None or not path.is_file() or path.read_text() != recorded:
            (self.run / LOG).unlink(missing_ok=True)
            (self.run / checkpoints.STATE).unlink(missing_ok=True)
            checkpoints.replace(path, recorded)
            return
        with np.load(self.run / state.pop("checkpoint")) as saved:
            for key, variables in self._networks().items():
                for i, variable in enumerate(variables):
                    variable.assign(saved[f"{key}{i}"])
        state |= {"epochs": self.progress.epochs, "losses": tuple(state["losses"])}
        self.progress = Progress(**state)


def _cross_entropy(logits: Any, target: float) -> Any:
    labels = tf.fill(tf.shape(logits), target)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))


def _noise(seed: int, count: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, NOISE), np.float32)


def _to_pixels(drawn: NDArray[np.float32]) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.clip((drawn + 1.0) * 127.5 + 0.5, 0, 255).astype(np.uint8)
    return pixels


def read_log(run: Path) -> list[dict[str, Any]]:
    """One row for each epoch that is done."""
    path = run / LOG
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
