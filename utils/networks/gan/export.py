"""From a trained generator to the graph that samples without any training library."""

from __future__ import annotations

import keras
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from utils.networks.gan.architecture import SLOPE
from utils.networks.gan.presets import NOISE, Preset
from utils.networks.graph import OPSET, Graph

Kernel = NDArray[np.float32]


def export_generator(network: keras.Model, preset: Preset) -> onnx.ModelProto:
    """The ONNX graph of a generator, its batch normalisations folded.

    Parameters
    ----------
    network : keras.Model
        As `architecture.build_generator` built it.
    preset : Preset

    Returns
    -------
    model : onnx.ModelProto
        Inputs ``noise`` (N, 100) float32 and ``classes`` (N,) int64; output ``pixels``
        (N, S, S, 3) uint8. Weights are stored as float16.
    """
    base, side = preset.base_px, preset.side_px
    graph = Graph({})
    table = graph.half(_own(network, "embedding")[0], "embedding")
    told = graph.node("Gather", [table, "classes"], "told", axis=0)
    x = graph.node("Concat", ["noise", told], "told_noise", axis=1)
    scale, shift = _folded(network, "first")
    kernel = _own(network, "base")[0] * np.tile(scale, base * base)
    x = graph.node("MatMul", [x, graph.half(kernel, "base_kernel")], "base_product")
    bias = graph.half(np.tile(shift, base * base), "base_bias")
    x = graph.node("Add", [x, bias], "base_sum")
    shape = graph.constant(np.array([0, base, base, preset.generator[0]], np.int64), "map_shape")
    x = graph.node("Reshape", [x, shape], "first_map")
    x = graph.node("Transpose", [x], "first_planes", perm=[0, 3, 1, 2])
    x = graph.node("LeakyRelu", [x], "first_relu", alpha=SLOPE)
    for number in range(1, len(preset.generator) + 1):
        x = _up(graph, network, x, f"up{number}", last=number == len(preset.generator))
    x = graph.node("Transpose", [x], "pictures", perm=[0, 2, 3, 1])
    # From -1..1 to whole levels, rounded as in training.
    for kind, value, name in (
        ("Add", 1.0, "lifted"),
        ("Mul", 127.5, "stretched"),
        ("Add", 0.5, "up"),
    ):
        x = graph.node(kind, [x, graph.constant(np.array(value, np.float32), f"{name}_by")], name)
    low, high = (graph.constant(np.array(v, np.float32), f"level_{v}") for v in (0, 255))
    x = graph.node("Clip", [x, low, high], "levels")
    graph.node("Cast", [x], "pixels", to=TensorProto.UINT8)
    made = helper.make_graph(
        graph.nodes,
        "marrow-find-generator",
        [
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["N", NOISE]),
            helper.make_tensor_value_info("classes", TensorProto.INT64, ["N"]),
        ],
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", side, side, 3])],
        graph.initialisers,
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opset, producer_name="marrow-find", ir_version=8)
    onnx.checker.check_model(model)
    return model


def _up(graph: Graph, network: keras.Model, x: str, name: str, *, last: bool) -> str:
    values = _own(network, name)
    kernel = values[0]
    if last:
        bias = values[1]
    else:
        scale, bias = _folded(network, name)
        kernel = kernel * scale[None, None, :, None]
    inputs = [x, graph.half(kernel.transpose(3, 2, 0, 1), f"{name}_kernel")]
    inputs.append(graph.half(bias, f"{name}_bias"))
    x = graph.node("ConvTranspose", inputs, name, strides=[2, 2], pads=[1] * 4)
    if last:
        return graph.node("Tanh", [x], f"{name}_tanh")
    return graph.node("LeakyRelu", [x], f"{name}_relu", alpha=SLOPE)


def _own(network: keras.Model, layer: str) -> list[Kernel]:
    return [np.asarray(w, np.float32) for w in network.get_layer(layer).get_weights()]


def _folded(network: keras.Model, name: str) -> tuple[Kernel, Kernel]:
    """Scale and shift of a batch normalisation at rest."""
    layer = network.get_layer(f"{name}_norm")
    gamma, beta, mean, variance = _own(network, f"{name}_norm")
    scale = gamma / np.sqrt(variance + layer.epsilon)
    return scale, beta - mean * scale
