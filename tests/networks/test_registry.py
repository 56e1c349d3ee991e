"""A trained network is served only where it is whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.untrained import write_random_network
from utils.errors import NetworkCorrupt, NetworkUnavailable
from utils.networks.manifest import Manifest
from utils.networks.registry import (
    GRAPH,
    MANIFEST,
    current_version,
    label_set,
    list_networks,
    listed_label_set,
    load_classifier,
    set_current,
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_random_network(tmp_path)
    return tmp_path


def test_reads_a_picture(models: Path) -> None:
    classifier = load_classifier(models, "all4")
    pixels = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    before = pixels.copy()
    reading = classifier.read(pixels)
    assert reading.probabilities.sum() == pytest.approx(1.0)
    assert reading.top_code in classifier.manifest.codes
    assert reading.label == reading.top_code
    assert reading.cams.shape == (4, 7, 7)
    assert (reading.cams >= 0).all()
    np.testing.assert_array_equal(pixels, before)


def test_one_changed_byte_is_refused(models: Path) -> None:
    graph = models / "all4" / "0-untrained" / GRAPH
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(NetworkCorrupt, match="SHA-256"):
        load_classifier(models, "all4")


def test_missing_network_and_missing_file(models: Path) -> None:
    with pytest.raises(NetworkUnavailable, match="marrow7"):
        load_classifier(models, "marrow7")
    (models / "all4" / "0-untrained" / GRAPH).unlink()
    with pytest.raises(NetworkUnavailable, match=r"network\.onnx"):
        load_classifier(models, "all4")


def test_graph_that_does_not_fit_its_manifest_is_refused(models: Path) -> None:
    path = models / "all4" / "0-untrained" / MANIFEST
    manifest = Manifest.load(path)
    manifest.model_copy(update={"classes": manifest.classes[:3]}).save(path)
    with pytest.raises(NetworkCorrupt, match="logits"):
        load_classifier(models, "all4")


def test_manifest_with_a_missing_field_says_which(models: Path) -> None:
    path = models / "all4" / "0-untrained" / MANIFEST
    text = path.read_text().replace('"temperature"', '"temprature"')
    path.write_text(text)
    with pytest.raises(NetworkCorrupt, match="temperature"):
        Manifest.load(path)


def test_current_names_the_version_that_serves(models: Path) -> None:
    write_random_network(models, version="1-other", seed=2)
    assert current_version(models, "all4") == "1-other"
    set_current(models, "all4", "0-untrained")
    assert load_classifier(models, "all4").manifest.version == "0-untrained"
    with pytest.raises(NetworkUnavailable):
        set_current(models, "all4", "9")
    assert [m.version for m in list_networks(models)] == ["0-untrained", "1-other"]


def test_abstains_below_the_threshold_and_beyond_the_domain(models: Path) -> None:
    path = models / "all4" / "0-untrained" / MANIFEST
    manifest = Manifest.load(path)
    domain = manifest.out_of_distribution.model_copy(update={"threshold": 1e-9})
    manifest.model_copy(update={"abstain_below": 1.0, "out_of_distribution": domain}).save(path)
    reading = load_classifier(models, "all4").read(np.zeros((224, 224, 3), np.uint8))
    assert reading.label is None
    assert set(reading.reasons) <= {"low_confidence", "out_of_distribution"}
    assert "out_of_distribution" in reading.reasons


def test_the_label_set_is_the_serving_versions_else_the_listed_one(models: Path) -> None:
    with pytest.raises(NetworkUnavailable):
        label_set(models, "marrow7")
    served = label_set(models, "all4")
    assert [label.code for label in served] == ["Benign", "Early", "Pre", "Pro"]
    listed = [label.model_dump() for label in served[:2]]
    for name in ("all4", "marrow7"):
        (models / name).mkdir(exist_ok=True)
        (models / name / "labels.json").write_text(json.dumps(listed))
    assert label_set(models, "all4") == served, "what serves is asked first"
    assert label_set(models, "marrow7") == served[:2] == listed_label_set(models, "all4")
    set_aside = models / "all4" / "0-untrained" / MANIFEST
    set_aside.rename(set_aside.with_suffix(".away"))
    assert label_set(models, "all4") == served[:2]


def test_a_label_set_that_is_not_valid_says_so(models: Path) -> None:
    (models / "marrow7").mkdir()
    (models / "marrow7" / "labels.json").write_text('[{"code": "BLA"}]')
    with pytest.raises(NetworkCorrupt, match="marrow7"):
        label_set(models, "marrow7")
