"""``flask network``: measured and trained from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from tests.untrained import CODES, write_random_network
from utils.imaging.synthesis import field
from utils.networks.registry import current_version, load_classifier
from utils.settings import PROJECT_ROOT, Settings

REPORT = {
    "n",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "weighted_f1",
    "kappa",
    "ece",
    "auc",
    "per_class",
    "confusion",
    "coverage",
    "accuracy_on_kept",
    "robustness",
    "cells_removed",
    "controls",
}
ROBUSTNESS = {"stain_swap", "background_swap", "grey", "stain_jitter", "blur", "jpeg30"}


def write_fields(folder: Path, codes: tuple[str, ...], each: int) -> Path:
    stains = ("classic", "blue", "rose", "classic")
    for number, code in enumerate(codes):
        (folder / code).mkdir(parents=True)
        for i in range(each):
            made = field(100 * number + i, cells=5 + 3 * number, stain=stains[number])
            cv2.imwrite(str(folder / code / f"field-{i:03d}.png"), made.pixels[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fields(tmp_path_factory.mktemp("data"), CODES, 3)


def test_evaluate_gives_the_agreed_keys(runner: FlaskCliRunner, dataset: Path) -> None:
    arguments = ["network", "evaluate", "all4", "--dataset", str(dataset), "--robustness", "--json"]
    done = runner.invoke(args=arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert set(report) >= REPORT
    assert set(report["robustness"]) == ROBUSTNESS
    assert set(report["cells_removed"]) == {"accuracy", "mean_highest_probability", "abstained"}
    assert set(report["controls"]) == {"majority", "colour_5nn"}
    assert report["n"] == 12
    assert sum(map(sum, report["confusion"])) == 12
    right = sum(report["confusion"][i][i] for i in range(4))
    assert report["accuracy"] == pytest.approx(right / 12)
    assert report["controls"]["majority"] == pytest.approx(0.25)


def test_evaluate_without_robustness_leaves_it_empty(runner: FlaskCliRunner, dataset: Path) -> None:
    arguments = ["network", "evaluate", "all4", "--dataset", str(dataset), "--json"]
    report = json.loads(runner.invoke(args=arguments).stdout)
    assert report["robustness"] is None
    assert report["cells_removed"] is None


def test_evaluate_repeats(runner: FlaskCliRunner, dataset: Path) -> None:
    arguments = ["network", "evaluate", "all4", "--dataset", str(dataset), "--robustness", "--json"]
    first, second = (json.loads(runner.invoke(args=arguments).stdout) for _ in range(2))
    assert first == second


def test_wrong_arguments_are_one_sentence(
    runner: FlaskCliRunner, dataset: Path, tmp_path: Path
) -> None:
    for arguments in (
        ["evaluate", "all4", "--dataset", str(tmp_path / "absent")],
        ["evaluate", "all4"],
        ["train", "--data", str(dataset), "--weights", str(tmp_path / "absent.h5")],
        ["train", "--data", str(dataset), "--weights", "none", "--recipe", "unknown"],
    ):
        done = runner.invoke(args=["network", *arguments])
        assert done.exit_code == 2, arguments
        assert len(done.stderr.strip().splitlines()) == 1


def test_unknown_network_and_foreign_folder(
    runner: FlaskCliRunner, dataset: Path, tmp_path: Path
) -> None:
    done = runner.invoke(args=["network", "evaluate", "nobody", "--dataset", str(dataset)])
    assert done.exit_code == 1
    assert "nobody" in done.stderr
    other = write_fields(tmp_path, ("Lymphocyte",), 1)
    done = runner.invoke(args=["network", "evaluate", "all4", "--dataset", str(other)])
    assert done.exit_code == 1
    assert "Lymphocyte" in done.stderr


def test_list_says_which_serves(app: Flask, runner: FlaskCliRunner, settings: Settings) -> None:
    rows = json.loads(runner.invoke(args=["network", "list", "--json"]).stdout)["networks"]
    assert [row["name"] for row in rows if row["serves"]] == ["all4"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_train_publishes_a_network_that_serves(tmp_path: Path) -> None:
    """The whole of it, small: train, export, calibrate, measure, card, figures, serve."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    import os
    import subprocess
    import sys

    models, data = tmp_path / "models", write_fields(tmp_path / "data", ("A", "B"), 60)
    write_random_network(models)
    labels = json.loads((PROJECT_ROOT / "models" / "all4" / "labels.json").read_text())[:2]
    for label, code in zip(labels, ("A", "B"), strict=True):
        label["code"] = code
    (models / "tiny").mkdir()
    (models / "tiny" / "labels.json").write_text(json.dumps(labels))
    environment = {
        **os.environ,
        "MARROW_FIND_INSTANCE_DIR": str(tmp_path / "instance"),
        "MARROW_FIND_MODELS_DIR": str(models),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-m", "flask", "network", "train", "--name", "tiny"]
    command += ["--data", str(data), "--weights", "none", "--recipe", "smoke"]
    command += ["--version", "1", "--run", str(tmp_path / "run"), "--block", "5"]
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "min left" in done.stdout
    assert current_version(models, "tiny") == "1"
    folder = models / "tiny" / "1"
    expected = {"network.onnx", "manifest.json", "card.md", "metrics.json", "split.json"}
    expected |= {"curves.json", "curves.svg", "confusion.svg", "reliability.svg", "roc.svg"}
    assert {p.name for p in folder.iterdir()} >= expected
    assert 40e6 < (folder / "network.onnx").stat().st_size < 55e6
    classifier = load_classifier(models, "tiny")
    assert 0.5 <= classifier.manifest.abstain_below <= 1
    assert classifier.manifest.training["domain"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics["robustness"]) == ROBUSTNESS
    assert metrics["ood"]["n"] >= 200
    card = (folder / "card.md").read_text()
    assert "Does it read the cells?" in card
    assert "For Research Use Only" in card
    again = subprocess.run(
        [*command[:4], "export", "tiny", "--to", str(tmp_path / "keras")],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert again.returncode == 0, again.stderr[-2000:]
    assert {p.suffix for p in (tmp_path / "keras").iterdir()} == {".keras", ".h5"}
