"""Training goes on where it was killed, and what it exports is the same network."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.imaging.preprocess import PreprocessSpec
from utils.networks import registry
from utils.networks.augmentation import Strength
from utils.networks.recipes import RECIPES, Recipe
from utils.settings import PROJECT_ROOT

pytest.importorskip("tensorflow", reason="TensorFlow is not installed: training is not tested")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SMALL = replace(
    RECIPES["smoke"], stages=((64, 3),), batch=4, settled=Strength(swap=0.0), settling=1
)


def run_training(run: Path, recipe: Recipe, seed: int = 3) -> None:
    """Two classes of plain fields, a few pictures each."""
    from tests.networks.test_augmentation import smear
    from utils.networks.augmentation import Fields
    from utils.networks.normalisation import IMAGENET
    from utils.networks.training import Material, train
    from utils.networks.views import Views

    blue, cream = (225, 232, 245), (245, 240, 225)
    pixels = [smear(i, blue if i % 2 else cream, (110, 50, 150)) for i in range(8)]
    targets = np.array([i % 2 for i in range(8)])
    pictures = Fields(
        pixels,
        targets,
        outliers=[],
        classes=2,
        spec=recipe.spec,
        strength=Strength(),
        seed=seed,
    )
    material = Material(
        pictures,
        Views(pixels[:4], targets[:4], spec=PreprocessSpec(), seed=seed),
        ("A", "B"),
    )
    train(
        material,
        recipe,
        start=None,
        run=run,
        normalisation=IMAGENET,
        seed=seed,
        say=lambda line: None,
    )


def log_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_killed_training_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    undisturbed, killed = tmp_path / "a", tmp_path / "b"
    worker = context.Process(target=run_training, args=(undisturbed, SMALL))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    worker = context.Process(target=run_training, args=(killed, SMALL))
    worker.start()
    deadline = time.monotonic() + 120
    while not (killed / "state.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join()
    assert 1 <= len(log_of(killed)) < 3, "the training was to be killed half-way"
    worker = context.Process(target=run_training, args=(killed, SMALL))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    expected, found = log_of(undisturbed), log_of(killed)
    assert [row["epoch"] for row in found] == [0, 1, 2]
    for one, other in zip(expected, found, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    assert not list(killed.glob("*.partial"))


@pytest.mark.filterwarnings("default")
def test_folding_the_normalisation_keeps_the_function(tmp_path: Path) -> None:
    import keras

    from utils.networks.architecture import build_classifier, load_start_weights

    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)
    published = keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=(224, 224, 3)
    )
    rng = np.random.default_rng(1)
    for layer in published.layers:
        if layer.name.endswith("_bn"):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    rng.uniform(0.3, 0.9, gamma.shape),
                    rng.normal(0, 0.1, beta.shape),
                    rng.normal(0, 0.1, mean.shape),
                    rng.uniform(0.5, 1.5, variance.shape),
                ]
            )
    published.save_weights(tmp_path / "start.weights.h5")
    network = build_classifier(4)
    load_start_weights(network, tmp_path / "start.weights.h5")
    reader = keras.Model(network.inputs, network.get_layer("conv5_block3_out").output)
    pixels = rng.normal(size=(1, 224, 224, 3)).astype(np.float32)
    expected = np.asarray(published(pixels, training=False))
    found = np.asarray(reader([pixels], training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def tape_cams(network: Any, pixels: np.ndarray) -> np.ndarray:
    """Grad-CAM of every class by automatic differentiation, the slow way.

    The reference that the closed form in the graph is held against.

    Parameters
    ----------
    network : keras.Model
    pixels : (S, S, 3) ndarray of float32
        Normalised.

    Returns
    -------
    cams : (C, s, s) ndarray of float32

    References
    ----------
    .. [1] Selvaraju et al. (2017), doi:10.1109/ICCV.2017.74
    """
    import keras
    import tensorflow as tf

    from utils.networks.architecture import LAST_BLOCK

    layer = network.get_layer(LAST_BLOCK)
    reader = keras.Model(network.inputs, [layer.output, network.output])
    with tf.GradientTape(persistent=True) as tape:
        maps, logits = reader([pixels[None]], training=False)
        tape.watch(maps)
        # The head again, on the watched maps: the tape sees only what follows them.
        scores = _head(network, maps)
        singles = [scores[0, c] for c in range(logits.shape[-1])]
    cams = []
    for single in singles:
        alpha = tf.reduce_mean(tape.gradient(single, maps), axis=(1, 2), keepdims=True)
        cams.append(tf.nn.relu(tf.reduce_sum(alpha * maps, axis=-1))[0].numpy())
    return np.stack(cams)


def _head(network: Any, maps: Any) -> Any:
    x = maps
    for name in ("avg_pool", "flatten", "hidden", "logits"):
        x = network.get_layer(name)(x)
    return x


@pytest.mark.filterwarnings("default")
def test_heat_in_the_graph_is_the_tapes_on_the_trained_weights() -> None:
    """The closed form against `GradientTape`, relative 1e-4, on what is served."""
    models = PROJECT_ROOT / "models"
    folder = registry.find(models, "all4")
    from utils.networks.export import from_graph

    classifier = registry.load_classifier(models, "all4")
    network = from_graph(folder / registry.GRAPH)
    rng = np.random.default_rng(8)
    from tests.networks.test_augmentation import smear

    pictures = [
        smear(5, (225, 232, 245), (110, 50, 150)),
        smear(6, (245, 240, 225), (150, 60, 170)),
    ]
    pictures.append(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))
    for picture in pictures:
        raw = classifier.forward(picture)
        pixels = classifier.manifest.normalisation.apply(picture)
        expected = tape_cams(network, pixels)
        assert expected.max() > 0
        assert np.abs(raw.cams - expected).max() <= 1e-4 * expected.max()
        logits = np.asarray(network(pixels[None], training=False))[0]
        np.testing.assert_allclose(raw.logits, logits, rtol=1e-3, atol=1e-3)
