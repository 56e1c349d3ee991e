"""One forward pass, then calibrate or abstain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from utils.errors import NetworkCorrupt
from utils.networks.manifest import Manifest

LOW_CONFIDENCE = "low_confidence"
OUT_OF_DISTRIBUTION = "out_of_distribution"


@dataclass(frozen=True)
class Raw:
    """What the graph gives for one picture, before calibration.

    Attributes
    ----------
    logits : (C,) ndarray of float32
    cams : (C, s, s) ndarray of float32
        Grad-CAM of every class, not negative.
    embedding : (D,) ndarray of float32
    """

    logits: NDArray[np.float32]
    cams: NDArray[np.float32]
    embedding: NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """A network's calibrated answer.

    Attributes
    ----------
    logits : (C,) ndarray of float32
    probabilities : (C,) ndarray of float64
        Calibrated; they sum to one.
    cams : (C, s, s) ndarray of float32
        Grad-CAM of every class on the logits, not negative.
    embedding : (D,) ndarray of float32
    ood_distance : float
        About 1 for a typical field of the training domain.
    label : str or None
        Class code; None where the network abstains.
    probability : float
        The highest.
    top_code : str
        Class of the highest probability, abstained or not.
    reasons : tuple of str
        Why it abstains: ``low_confidence``, ``out_of_distribution``.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    cams: NDArray[np.float32]
    embedding: NDArray[np.float32]
    ood_distance: float
    label: str | None
    probability: float
    top_code: str
    reasons: tuple[str, ...]


class Classifier:
    """A trained network in memory.

    Parameters
    ----------
    graph : bytes or Path
        Serialised ONNX model.
    manifest : Manifest
    threads : int
        Threads of the engine.

    Raises
    ------
    NetworkCorrupt
        If the graph cannot be loaded or its shapes do not fit the manifest.
    """

    def __init__(self, graph: bytes | Path, manifest: Manifest, *, threads: int = 1) -> None:
        self.manifest = manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        source = graph if isinstance(graph, bytes) else str(graph)
        try:
            self._session = onnxruntime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # The engine raises its own, undocumented classes for a bad graph.
            raise NetworkCorrupt(
                f"The graph of network {manifest.name} {manifest.version} cannot be loaded."
            ) from error
        self._check_shapes()

    def _check_shapes(self) -> None:
        side, classes = self.manifest.preprocess.input_px, len(self.manifest.classes)
        expected = {"logits": [classes], "embedding": [len(self.manifest.out_of_distribution.mean)]}
        found = {output.name: list(output.shape[1:]) for output in self._session.get_outputs()}
        pixels = list(self._session.get_inputs()[0].shape[1:])
        if pixels != [side, side, 3]:
            raise NetworkCorrupt(
                f"Network {self.manifest.name} takes pictures of {pixels}, its manifest says "
                f"{[side, side, 3]}."
            )
        for name, shape in expected.items():
            if found.get(name) != shape:
                raise NetworkCorrupt(
                    f"Network {self.manifest.name} gives {name} of {found.get(name)}, its "
                    f"manifest says {shape}."
                )
        if len(found.get("cams", [])) != 3 or found["cams"][0] != classes:
            raise NetworkCorrupt(f"Network {self.manifest.name} gives no map for each class.")

    def forward(self, network_input: NDArray[np.uint8]) -> Raw:
        """Run the graph on one picture.

        Parameters
        ----------
        network_input : (S, S, 3) ndarray of uint8
            As `utils.imaging.preprocess.prepare` makes it.

        Returns
        -------
        raw : Raw
        """
        return self.forward_all([network_input])[0]

    def forward_all(self, network_inputs: Sequence[NDArray[np.uint8]]) -> list[Raw]:
        """Run the graph on several pictures at once.

        Parameters
        ----------
        network_inputs : sequence of (S, S, 3) ndarray of uint8

        Returns
        -------
        raws : list of Raw
        """
        if not network_inputs:
            return []
        pixels = self.manifest.normalisation.apply(np.stack(network_inputs))
        answers = self._session.run(["logits", "cams", "embedding"], {"pixels": pixels})
        return [Raw(*(answer[i] for answer in answers)) for i in range(len(network_inputs))]

    def judge(self, raw: Raw) -> Reading:
        """Calibrate, or abstain.

        Parameters
        ----------
        raw : Raw

        Returns
        -------
        reading : Reading
        """
        probabilities = softmax(raw.logits / self.manifest.temperature)
        top = int(probabilities.argmax())
        distance = self.manifest.out_of_distribution.distance(raw.embedding)
        reasons = []
        if probabilities[top] < self.manifest.abstain_below:
            reasons.append(LOW_CONFIDENCE)
        if distance > self.manifest.out_of_distribution.threshold:
            reasons.append(OUT_OF_DISTRIBUTION)
        code = self.manifest.codes[top]
        return Reading(
            logits=raw.logits,
            probabilities=probabilities,
            cams=raw.cams,
            embedding=raw.embedding,
            ood_distance=distance,
            label=None if reasons else code,
            probability=float(probabilities[top]),
            top_code=code,
            reasons=tuple(reasons),
        )

    def read(self, network_input: NDArray[np.uint8]) -> Reading:
        """Forward pass and judgement of one picture.

        Parameters
        ----------
        network_input : (S, S, 3) ndarray of uint8

        Returns
        -------
        reading : Reading
        """
        return self.judge(self.forward(network_input))

    def warm_up(self) -> None:
        """Run once on a grey picture: the first pass allocates."""
        side = self.manifest.preprocess.input_px
        self.read(np.full((side, side, 3), 128, dtype=np.uint8))


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities along the last axis.

    Returns
    -------
    probabilities : ndarray of float64
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
