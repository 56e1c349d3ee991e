"""A small untrained network with the real graph's outputs, for tests without weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.imaging.preprocess import PreprocessSpec
from utils.networks.graph import build_graph
from utils.networks.manifest import LabelClass, Manifest, OutOfDistribution
from utils.networks.normalisation import IMAGENET
from utils.networks.registry import GRAPH, MANIFEST, set_current

STAGES = ((2, 1), (3, 1), (4, 1), (5, 1))
CODES = ("Benign", "Early", "Pre", "Pro")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


def random_weights(
    classes: int, *, width: int = 4, hidden: int = 8, seed: int = 1
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weights of a narrow network of one block a stage."""
    rng = np.random.default_rng(seed)

    def layer(*shape: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        spread = np.sqrt(2.0 / np.prod(shape[:-1]))
        kernel = rng.normal(0, spread, shape).astype(np.float32)
        return kernel, rng.normal(0, 0.05, shape[-1]).astype(np.float32)

    weights = {"conv1_conv": layer(7, 7, 3, width)}
    channels = width
    for stage, _ in STAGES:
        filters = width * 2 ** (stage - 2)
        name = f"conv{stage}_block1"
        weights[f"{name}_0_conv"] = layer(1, 1, channels, 4 * filters)
        weights[f"{name}_1_conv"] = layer(1, 1, channels, filters)
        weights[f"{name}_2_conv"] = layer(3, 3, filters, filters)
        weights[f"{name}_3_conv"] = layer(1, 1, filters, 4 * filters)
        channels = 4 * filters
    weights["hidden"] = layer(channels, hidden)
    weights["logits"] = layer(hidden, classes)
    return weights


def write_random_network(
    models_dir: Path,
    *,
    name: str = "all4",
    version: str = "0-untrained",
    seed: int = 1,
    spec: PreprocessSpec | None = None,
) -> Path:
    """Write an untrained network that the registry serves.

    Its thresholds never abstain, so that a test sees a label.

    Returns
    -------
    folder : Path
    """
    spec = spec or PreprocessSpec()
    weights = random_weights(len(CODES), seed=seed)
    graph = build_graph(weights, input_px=spec.input_px, stages=STAGES).SerializeToString()
    width = weights["conv3_block1_3_conv"][0].shape[3] + weights["hidden"][0].shape[1]
    classes = [
        LabelClass(
            code=code,
            display_name=code,
            short_name=code,
            lineage="B lymphoid",
            stage=code,
            is_blast=code != "Benign",
            counts_in_differential=True,
            colour=colour,
            note="Untrained network: for tests of the program only.",
        )
        for code, colour in zip(CODES, COLOURS, strict=True)
    ]
    manifest = Manifest(
        name=name,
        version=version,
        task="field" if spec.cell_context is None else "cell",
        created_at="2026-01-01T00:00:00Z",
        classes=classes,
        backbone="narrow resnet, untrained",
        heat_layer="conv5_block1_out, logit",
        normalisation=IMAGENET,
        preprocess=spec,
        temperature=1.0,
        abstain_below=0.0,
        out_of_distribution=OutOfDistribution(
            mean=[0.0] * width,
            scale=[1.0] * width,
            components=[[1.0] + [0.0] * (width - 1)],
            spread=[1.0],
            rest=1.0,
            threshold=1e9,
        ),
        training={"domain": "none: untrained"},
        metrics={},
        libraries={},
        weights_sha256=hashlib.sha256(graph).hexdigest(),
    )
    folder = models_dir / name / version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GRAPH).write_bytes(graph)
    manifest.save(folder / MANIFEST)
    set_current(models_dir, name, version)
    return folder
