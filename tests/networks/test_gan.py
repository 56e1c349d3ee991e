"""Generators of synthetic fields: built right, trained on, killed, exported, marked, judged."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from utils.errors import DatasetInvalid, InvalidInput, NetworkCorrupt, NetworkUnavailable
from utils.imaging.decode import SYNTHETIC_KEY
from utils.imaging.synthesis import field
from utils.networks import checkpoints
from utils.networks.dataset import Example
from utils.networks.gan import sheets
from utils.networks.gan.generator import CARD, GRAPH, About, Generator
from utils.networks.gan.material import Fields, above_the_bar, load_fields, thinned, turned
from utils.networks.gan.presets import PRESETS, check
from utils.networks.gan.samples import write_samples

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Of Keras' own doing, with this NumPy.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")
SMOKE = PRESETS["smoke"]
CODES = ("Benign", "Pre")


def drawn_fields(each: int = 16, side_px: int = 32) -> Fields:
    """Synthetic fields of two stains as if they were real."""
    pixels, targets = [], []
    for label, stain in enumerate(("blue", "rose")):
        for i in range(each):
            made = field(100 * label + i, cells=4, stain=stain).pixels
            pixels.append(cv2.resize(made, (side_px, side_px), interpolation=cv2.INTER_AREA))
            targets.append(label)
    return Fields(np.stack(pixels), np.array(targets, np.int64), CODES)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small training that was interrupted once, and its generator."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: nothing is trained")
    import hashlib

    from utils.networks.gan import training
    from utils.networks.gan.export import export_generator

    run = tmp_path_factory.mktemp("gan") / "run"

    def start() -> Any:
        return training.Training(
            drawn_fields(), SMOKE, run, epochs=3, seed=5, names=["Benign", "Pre-B"]
        )

    steps: list[int] = []
    with pytest.raises(training.Interrupted):
        start().go(tell=lambda at: steps.append(at.step), must_stop=lambda: len(steps) > 5)
    job = start()
    assert (job.progress.epoch, job.progress.step) == (1, 1)
    job.go()
    graph = export_generator(job.best, SMOKE).SerializeToString()
    (run / GRAPH).write_bytes(graph)
    About(
        run="run",
        preset="smoke",
        side_px=32,
        codes=CODES,
        names=("Benign", "Pre-B"),
        trained_on="drawn",
        pictures={"Benign": 16, "Pre": 16},
        split_sha256="",
        epochs=3,
        seed=5,
        created_at="2026-01-01",
        weights_sha256=hashlib.sha256(graph).hexdigest(),
    ).save(run)
    (run / "keras.npy").write_bytes(job.sample(1, 8, 3).tobytes())
    return run


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_layers_of_a_preset_lead_to_its_side(name: str) -> None:
    check(PRESETS[name])


def test_a_preset_whose_layers_do_not_is_refused() -> None:
    with pytest.raises(ValueError, match="do not lead"):
        check(replace(SMOKE, side_px=48))


def test_the_scale_bar_stays_outside() -> None:
    pixels = np.zeros((224, 224, 3), np.uint8)
    pixels[-31:] = 255
    square = above_the_bar(pixels)
    assert square.shape == (193, 193, 3)
    assert square.max() == 0


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    examples = []
    for i in range(3):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), field(i, cells=2).pixels)
        examples.append(Example(path, "Pre", str(i)))
    with pytest.raises(DatasetInvalid, match="at least 16 pictures of Pre; there are 3"):
        load_fields(examples, ["Pre"], 32)


def test_thinning_keeps_some_of_every_class() -> None:
    fields = drawn_fields(10)
    few = thinned(fields, 3)
    assert np.bincount(few.targets).tolist() == [3, 3]
    assert few.codes == fields.codes
    assert (few.pixels[0] == fields.pixels[0]).all()
    assert len(thinned(fields, 50)) == 20


def test_turning_keeps_every_pixel() -> None:
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    rng = np.random.default_rng(1)
    seen = {turned(pixels, rng).tobytes() for _ in range(200)}
    assert len(seen) == 8
    assert all(sorted(s) == sorted(pixels.tobytes()) for s in seen)


@pytest.mark.parametrize("name", ["published", "few64"])
def test_both_networks_hear_the_class(name: str) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    import keras

    from utils.networks.gan.architecture import build_discriminator, build_generator

    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)
    preset = replace(PRESETS[name], dropout=0.0)
    generator, discriminator = build_generator(preset, 3), build_discriminator(preset, 3)
    noise = np.repeat(np.random.default_rng(1).standard_normal((1, 100), np.float32), 3, axis=0)
    classes = np.arange(3, dtype=np.int32)
    made = np.asarray(generator([noise, classes], training=False))
    assert made.shape == (3, preset.side_px, preset.side_px, 3)
    assert np.abs(made).max() <= 1
    assert np.abs(made[0] - made[1]).max() > 1e-4
    same = np.repeat(made[:1], 3, axis=0)
    judged = np.asarray(discriminator([same, classes], training=False)).ravel()
    assert len(set(judged.round(7))) == 3


def test_changes_are_differentiable_and_keep_the_shape() -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    from utils.networks.gan.changes import change

    tf.random.set_seed(1)
    pictures = tf.constant(np.random.default_rng(1).uniform(-1, 1, (4, 16, 16, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pictures)
        changed = change(pictures)
        total = tf.reduce_sum(changed)
    assert changed.shape == pictures.shape
    gradient = tape.gradient(total, pictures).numpy()
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).sum(axis=(1, 2, 3)) > 0).all()
    assert not np.allclose(changed, pictures)


@pytest.mark.slow
def test_an_interrupted_training_goes_on(finished: Path) -> None:
    from utils.networks.gan.training import read_log

    rows = read_log(finished)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(np.isfinite([row["generator"], row["discriminator"]]).all() for row in rows)
    state = checkpoints.read_state(finished)
    assert state is not None
    assert (state["epoch"], state["step"]) == (3, 0)
    assert [p.name for p in finished.glob("*.npz")] == [state["checkpoint"]]
    assert not list(finished.glob("*.partial"))
    for row in rows:
        with Image.open(finished / "sheets" / row["sheet"]) as sheet:
            assert sheet.text[SYNTHETIC_KEY] == sheets.MARK  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_graph_draws_what_the_network_draws(finished: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession((finished / GRAPH).read_bytes())
    noise = np.random.default_rng(3).standard_normal((8, 100), np.float32)
    (pixels,) = session.run(None, {"noise": noise, "classes": np.ones(8, np.int64)})
    own = np.frombuffer((finished / "keras.npy").read_bytes(), np.uint8).reshape(pixels.shape)
    # Weights are rounded to half precision.
    assert np.abs(pixels.astype(int) - own).max() <= 3


@pytest.mark.slow
def test_samples_are_marked_and_drawn_once(finished: Path, tmp_path: Path) -> None:
    generator = Generator(finished)
    first = write_samples(generator, "Pre", 20, tmp_path, seed=7)
    assert (first.made, first.found) == (20, 0)
    files = sorted(tmp_path.glob("*.png"))
    before = [path.read_bytes() for path in files]
    with Image.open(files[3]) as picture:
        assert picture.text[SYNTHETIC_KEY] == sheets.MARK  # type: ignore[attr-defined]
        assert picture.text["Class"] == "Pre"  # type: ignore[attr-defined]
    files[3].unlink()
    files[17].unlink()
    again = write_samples(generator, "Pre", 20, tmp_path, seed=7)
    assert (again.made, again.found) == (2, 18)
    assert [path.read_bytes() for path in files] == before
    with pytest.raises(InvalidInput, match="Pro is not among them"):
        write_samples(generator, "Pro", 1, tmp_path, seed=7)


@pytest.mark.slow
def test_a_changed_generator_draws_nothing(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    with pytest.raises(NetworkUnavailable):
        Generator(folder)
    content = bytearray((finished / GRAPH).read_bytes())
    content[-9] ^= 1
    (folder / GRAPH).write_bytes(bytes(content))
    (folder / CARD).write_text((finished / CARD).read_text())
    with pytest.raises(NetworkCorrupt, match="have changed"):
        Generator(folder)
    (folder / CARD).write_text("{}")
    with pytest.raises(NetworkCorrupt, match="broken"):
        Generator(folder)


@pytest.mark.slow
def test_a_generator_is_measured_against_unseen_fields(
    finished: Path, tmp_path: Path, models_dir: Path
) -> None:
    from utils.networks.gan.evaluation import Real, Ruler, evaluate
    from utils.networks.registry import load_classifier

    train, unseen = drawn_fields(20), drawn_fields(12)
    real = Real(
        train, replace(unseen, pixels=unseen.pixels[::-1].copy()), [i // 3 for i in range(24)]
    )
    real = replace(real, unseen=replace(real.unseen, targets=unseen.targets[::-1].copy()))
    ruler = Ruler(load_classifier(models_dir, "all4"), real)
    report = evaluate(ruler, Generator(finished), tmp_path, per_class=12, say=lambda line: None)
    assert set(report["per_class"]) == set(CODES)
    overall = report["all"]
    assert overall["n"] == 24
    assert overall["kernel"] > overall["kernel_floor"]
    low, high = overall["kernel_interval"]
    assert low <= overall["kernel"] <= high
    assert 0 <= overall["precision"] <= 1
    assert report["probe"]["auroc"] >= report["probe"]["floor"] - 0.2
    assert (tmp_path / "nearest.png").is_file()
    json.dumps(report)
