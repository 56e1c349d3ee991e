"""The graph against a second, slow implementation in numpy; no TensorFlow."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tests.untrained import STAGES, random_weights
from utils.networks.graph import build_graph

SIDE = 96


def run(pixels: np.ndarray) -> dict[str, np.ndarray]:
    model = build_graph(random_weights(4), input_px=SIDE, stages=STAGES)
    # The last block's maps as a further output, for the slow way.
    shape = [None, None, None, None]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("conv5_block1_out", onnx.TensorProto.FLOAT, shape)
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"pixels": pixels}), strict=True))


@pytest.fixture(scope="module")
def outputs() -> dict[str, np.ndarray]:
    pixels = np.random.default_rng(3).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    return run(pixels)


def test_shapes(outputs: dict[str, np.ndarray]) -> None:
    assert outputs["logits"].shape == (2, 4)
    assert outputs["cams"].shape == (2, 4, 3, 3)
    assert outputs["embedding"].shape[0] == 2
    assert all(values.dtype == np.float32 for values in outputs.values())


def test_weights_are_stored_as_float16() -> None:
    model = build_graph(random_weights(4), input_px=SIDE, stages=STAGES)
    large = [t for t in model.graph.initializer if numpy_helper.to_array(t).size > 10]
    assert large
    assert all(t.data_type == onnx.TensorProto.FLOAT16 for t in large)


def test_heat_is_the_gradient_by_finite_differences(outputs: dict[str, np.ndarray]) -> None:
    """Grad-CAM's weights are mean gradients of a logit; here they are differences."""
    weights = {
        k: [np.float16(w).astype(np.float64) for w in v] for k, v in random_weights(4).items()
    }

    def head(maps: np.ndarray) -> np.ndarray:
        pooled = maps.mean(axis=(1, 2))
        hidden = np.maximum(pooled @ weights["hidden"][0] + weights["hidden"][1], 0)
        return hidden @ weights["logits"][0] + weights["logits"][1]

    maps = outputs["conv5_block1_out"][0].astype(np.float64)
    np.testing.assert_allclose(head(maps), outputs["logits"][0], rtol=1e-4, atol=1e-5)
    step = 1e-6
    gradient = np.zeros((maps.shape[0], 4))
    for channel in range(maps.shape[0]):
        moved = maps.copy()
        moved[channel, 0, 0] += step
        # The pooling makes the gradient the same at each position.
        gradient[channel] = (head(moved) - head(maps)) / step
    expected = np.maximum(np.einsum("kc,kij->cij", gradient, maps), 0)
    assert expected.max() > 0
    np.testing.assert_allclose(outputs["cams"][0], expected, rtol=1e-3, atol=1e-5 * expected.max())
