"""From a Keras network to the graph that serves, and to files for those who go on elsewhere."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from utils.networks.architecture import build_classifier
from utils.networks.graph import build_graph

Weights = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]


def rebuild(weights: Path, classes: int) -> keras.Model:
    """A float32 network with the weights of a run.

    Parameters
    ----------
    weights : Path
        As `utils.networks.training.train` returned it.
    classes : int

    Returns
    -------
    network : keras.Model
        Weights rounded to float16, as the graph stores them: what is measured
        on this network holds for the one that serves.
    """
    keras.config.set_dtype_policy("float32")
    network = build_classifier(classes)
    network.load_weights(str(weights))
    for layer in network.layers:
        layer.set_weights(
            [np.asarray(w, np.float16).astype(np.float32) for w in layer.get_weights()]
        )
    return network


def collect_weights(network: keras.Model) -> Weights:
    """Kernel and bias of each layer that has them, by the layer's name."""
    collected: Weights = {}
    for layer in network.layers:
        values = layer.get_weights()
        if values:
            collected[layer.name] = (np.asarray(values[0]), np.asarray(values[1]))
    return collected


def export_graph(network: keras.Model, *, input_px: int) -> onnx.ModelProto:
    """The ONNX graph of a network; see `utils.networks.graph`."""
    return build_graph(collect_weights(network), input_px=input_px)


def write_keras(network: keras.Model, folder: Path) -> list[Path]:
    """Write `.keras` and `.h5` with logits as output.

    Returns
    -------
    files : list of Path
    """
    files = [folder / "network.keras", folder / "network.h5"]
    for file in files:
        network.save(file)
    return files


def from_graph(path: Path) -> keras.Model:
    """The Keras network of a graph that this project exported.

    Parameters
    ----------
    path : Path

    Returns
    -------
    network : keras.Model
    """
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    keras.config.set_dtype_policy("float32")
    network = build_classifier(stored["logits_bias_f16"].shape[0])
    for layer in network.layers:
        if f"{layer.name}_kernel_f16" not in stored:
            continue
        kernel = stored[f"{layer.name}_kernel_f16"].astype(np.float32)
        if kernel.ndim == 4:
            kernel = kernel.transpose(2, 3, 1, 0)
        layer.set_weights([kernel, stored[f"{layer.name}_bias_f16"].astype(np.float32)])
    return network
