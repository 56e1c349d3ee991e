"""The published way, for comparison: `predict`, a gradient tape, and scikit-image.

Served by plain gunicorn with two sync workers; nobody signs in and nothing is
stored, which spares it work that the application does.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.networks.baselines import published_watershed
from utils.networks.normalisation import IMAGENET


def load(graph: Path) -> Any:
    """The Keras network of a served graph, with softmax on top."""
    import keras

    from utils.networks.export import from_graph

    network = from_graph(graph)
    probabilities = keras.layers.Softmax()(network.output)
    return keras.Model(network.input, probabilities)


def predict_and_tape(network: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """`model.predict`, then a second pass under a tape for the named class."""
    import keras
    import tensorflow as tf

    top = int(network.predict(pixels, verbose=0)[0].argmax())
    reader = keras.Model(
        network.input, [network.get_layer("conv5_block3_out").output, network.output]
    )
    with tf.GradientTape() as tape:
        maps, probabilities = reader(pixels)
        score = probabilities[:, top]
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2))
    return np.asarray(tf.nn.relu(tf.reduce_sum(maps[0] * weights[0], axis=-1)))


def analyse(network: Any, data: bytes) -> bytes:
    """The whole published way of one picture; a PNG of heat and boundaries."""
    import cv2
    from PIL import Image
    from skimage.segmentation import find_boundaries

    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(np.ascontiguousarray(lab[..., 0]))
    equalised = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    pixels = IMAGENET.apply(np.asarray(cv2.resize(equalised, (224, 224)), dtype=np.uint8))[None]
    heat = predict_and_tape(network, pixels)
    heat = heat / max(float(heat.max()), 1e-9)
    size = (picture.shape[1], picture.shape[0])
    colours = cv2.applyColorMap((cv2.resize(heat, size) * 255).astype(np.uint8), cv2.COLORMAP_JET)
    labels = published_watershed(picture)
    blended = cv2.addWeighted(picture, 0.6, colours[..., ::-1], 0.4, 0)
    blended[find_boundaries(labels)] = (255, 0, 0)
    return bytes(cv2.imencode(".png", blended[..., ::-1])[1].tobytes())


def make_app() -> Any:
    """A Flask application with one route; reads MARROW_FIND_NAIVE_GRAPH."""
    from flask import Flask, Response, request

    app = Flask("naive")
    network = load(Path(os.environ["MARROW_FIND_NAIVE_GRAPH"]))
    predict_and_tape(network, np.zeros((1, 224, 224, 3), np.float32))

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/upload")
    def upload() -> Response:
        return Response(analyse(network, request.files["images"].read()), mimetype="image/png")

    return app


def measure(graph: Path, picture: bytes, repeats: int) -> dict[str, Any]:
    """Stations, `predict` alone and the whole of the published way, medians in milliseconds."""
    from utils.cli.benchmark.stages import median_ms

    network = load(graph)
    pixels = np.zeros((1, 224, 224, 3), np.float32)
    forward_ms = median_ms(lambda: network.predict(pixels, verbose=0), repeats=repeats)
    heat_ms = median_ms(lambda: predict_and_tape(network, pixels), repeats=repeats)
    whole_ms = median_ms(lambda: analyse(network, picture), repeats=repeats)
    return {
        "stages_ms": {"predict": round(forward_ms, 2), "predict_and_tape": round(heat_ms, 2)},
        "forward_ms": round(forward_ms, 2),
        "whole_ms": round(whole_ms, 2),
        "ratio_whole_to_forward": round(whole_ms / forward_ms, 3),
    }


if __name__ == "__main__":
    import json
    import sys

    from utils.cli.benchmark.stages import bench_picture

    chosen = Path(os.environ["MARROW_FIND_NAIVE_GRAPH"])
    print(json.dumps(measure(chosen, bench_picture(), int(sys.argv[1]))))
