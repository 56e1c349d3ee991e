"""One ONNX graph that gives logits, the Grad-CAM of every class, and the embedding.

The head is global average pooling, Dense with ReLU, Dense. With A the last
block's output (K maps of P positions), h the hidden layer's pre-activation and
W1, W2 the two kernels, the gradient of logit c with respect to A is the same at
every position:

    G[:, c] = W1 diag(1[h > 0]) W2[:, c],   L_c = ReLU(A · G[:, c] / P)

so that one forward pass gives the exact Grad-CAM [1]_ of every class. Weights
are stored as float16 and cast to float32 once, when the engine loads the graph.

References
----------
.. [1] Selvaraju et al. (2017), doi:10.1109/ICCV.2017.74
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Weights = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
OPSET = 17
RESNET50 = ((2, 3), (3, 4), (4, 6), (5, 3))


@dataclass
class Graph:
    """Nodes and initialisers in the making."""

    weights: Weights
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initialisers: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: NDArray[Any], name: str) -> str:
        self.initialisers.append(numpy_helper.from_array(values, name))
        return name

    def half(self, values: NDArray[np.float32], name: str) -> str:
        stored = self.constant(np.ascontiguousarray(values, dtype=np.float16), f"{name}_f16")
        return self.node("Cast", [stored], name, to=TensorProto.FLOAT)

    def convolve(self, x: str, layer: str, *, stride: int = 1, relu: bool = True) -> str:
        kernel, bias = self.weights[layer]
        side = kernel.shape[0]
        inputs = [x, self.half(kernel.transpose(3, 2, 0, 1), f"{layer}_kernel")]
        inputs.append(self.half(bias, f"{layer}_bias"))
        x = self.node("Conv", inputs, layer, strides=[stride] * 2, pads=[side // 2] * 4)
        return self.node("Relu", [x], f"{layer}_relu") if relu else x


def build_graph(
    weights: Weights, *, input_px: int, stages: Sequence[tuple[int, int]] = RESNET50
) -> onnx.ModelProto:
    """Assemble the graph.

    Parameters
    ----------
    weights : mapping of str to (kernel, bias)
        By Keras layer name: convolutions as (H, W, in, out), ``hidden`` and
        ``logits`` as (in, out).
    input_px : int
        Side of the square input.
    stages : sequence of (int, int)
        Stage number and its number of blocks.

    Returns
    -------
    model : onnx.ModelProto
        Input ``pixels`` (N, S, S, 3) float32, normalised. Outputs ``logits``
        (N, C), ``cams`` (N, C, s, s), ``embedding`` (N, D), all float32.
    """
    graph = Graph(weights)
    x = graph.node("Transpose", ["pixels"], "planes", perm=[0, 3, 1, 2])
    x = graph.convolve(x, "conv1_conv", stride=2)
    x = graph.node("MaxPool", [x], "pool1", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    pooled = []
    for stage, blocks in stages:
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and stage > 2 else 1
            x = _block(graph, x, f"conv{stage}_block{block}", stride, shortcut=block == 1)
        mean = graph.node("GlobalAveragePool", [x], f"stage{stage}_mean")
        pooled.append(graph.node("Flatten", [mean], f"stage{stage}_pooled", axis=1))
    classes = _head(graph, pooled[-1])
    # The third stage's means tell texture and colour, the hidden layer the cells:
    # together they know a picture that is no smear (docs/decisions/0004).
    graph.node("Concat", [pooled[1], "hidden_relu"], "embedding", axis=1)
    side, hidden = -(-input_px // 32), weights["hidden"][0].shape[1]
    width = weights[f"conv3_block{dict(stages)[3]}_3_conv"][0].shape[3] + hidden
    _heat(graph, x, side)
    float32 = TensorProto.FLOAT
    outputs = [("logits", [classes]), ("cams", [classes, side, side]), ("embedding", [width])]
    made = helper.make_graph(
        graph.nodes,
        "marrow-find",
        [helper.make_tensor_value_info("pixels", float32, ["N", input_px, input_px, 3])],
        [helper.make_tensor_value_info(n, float32, ["N", *shape]) for n, shape in outputs],
        graph.initialisers,
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opset, producer_name="marrow-find", ir_version=8)
    onnx.checker.check_model(model)
    return model


def _block(graph: Graph, x: str, name: str, stride: int, *, shortcut: bool) -> str:
    kept = x
    if shortcut:
        kept = graph.convolve(x, f"{name}_0_conv", stride=stride, relu=False)
    x = graph.convolve(x, f"{name}_1_conv", stride=stride)
    x = graph.convolve(x, f"{name}_2_conv")
    x = graph.convolve(x, f"{name}_3_conv", relu=False)
    x = graph.node("Add", [kept, x], f"{name}_add")
    return graph.node("Relu", [x], f"{name}_out")


def _head(graph: Graph, pooled: str) -> int:
    first, second = graph.weights["hidden"], graph.weights["logits"]
    kernel = graph.half(first[0], "hidden_kernel")
    h = graph.node("MatMul", [pooled, kernel], "hidden_product")
    h = graph.node("Add", [h, graph.half(first[1], "hidden_bias")], "hidden")
    active = graph.node("Relu", [h], "hidden_relu")
    product = graph.node(
        "MatMul", [active, graph.half(second[0], "logits_kernel")], "logits_product"
    )
    graph.node("Add", [product, graph.half(second[1], "logits_bias")], "logits")
    return int(second[0].shape[1])


def _heat(graph: Graph, x: str, side: int) -> None:
    zero = graph.constant(np.zeros(1, np.float32), "zero")
    on = graph.node("Greater", ["hidden", zero], "hidden_on")
    gate = graph.node("Cast", [on], "hidden_gate", to=TensorProto.FLOAT)
    last_axis = graph.constant(np.array([2], np.int64), "last_axis")
    column = graph.node("Unsqueeze", [gate, last_axis], "hidden_column")
    gated = graph.node("Mul", [column, "logits_kernel"], "gated_kernel")
    gradient = graph.node("MatMul", ["hidden_kernel", gated], "gradient")
    rows = graph.node("Transpose", [gradient], "gradient_rows", perm=[0, 2, 1])
    shape = graph.constant(np.array([0, 0, side * side], np.int64), "positions_shape")
    positions = graph.node("Reshape", [x, shape], "positions")
    weighted = graph.node("MatMul", [rows, positions], "weighted")
    share = graph.constant(np.array([1.0 / side**2], np.float32), "one_position")
    scaled = graph.node("Mul", [weighted, share], "mean_gradient_maps")
    kept = graph.node("Relu", [scaled], "flat_cams")
    square = graph.constant(np.array([0, 0, side, side], np.int64), "square_shape")
    graph.node("Reshape", [kept, square], "cams")
