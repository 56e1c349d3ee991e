"""A trained generator in memory: pictures of a class, on the serving engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from utils.errors import InvalidInput, NetworkCorrupt, NetworkUnavailable
from utils.networks import checkpoints
from utils.networks.gan.presets import NOISE

GRAPH, CARD = "generator.onnx", "generator.json"
BATCH = 16


@dataclass(frozen=True)
class About:
    """What a generator is, beside its graph.

    Attributes
    ----------
    run : str
        Identifier of the training.
    preset : str
    side_px : int
        Of the pictures.
    codes, names : tuple of str
        Classes and their names.
    trained_on : str
        Name of the set of real fields.
    pictures : dict of str to int
        Real pictures of each class that it learned from.
    split_sha256 : str
        Of the split that says which.
    epochs, seed : int
    created_at : str
    weights_sha256 : str
    """

    run: str
    preset: str
    side_px: int
    codes: tuple[str, ...]
    names: tuple[str, ...]
    trained_on: str
    pictures: dict[str, int]
    split_sha256: str
    epochs: int
    seed: int
    created_at: str
    weights_sha256: str

    def save(self, folder: Path) -> None:
        """Write as JSON."""
        checkpoints.replace(folder / CARD, json.dumps(asdict(self), indent=1))


class Generator:
    """Draws pictures.

    Parameters
    ----------
    folder : Path
        Of a finished training.
    threads : int

    Raises
    ------
    NetworkUnavailable
        If the folder holds no finished generator.
    NetworkCorrupt
        If a byte of it has changed, or it cannot be loaded.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        graph, card = folder / GRAPH, folder / CARD
        if not graph.is_file() or not card.is_file():
            raise NetworkUnavailable(f"The training {folder.name} has made no generator yet.")
        try:
            values = json.loads(card.read_text(encoding="utf-8"))
            values |= {key: tuple(values[key]) for key in ("codes", "names")}
            self.about = About(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise NetworkCorrupt(
                f"The description of generator {folder.name} is broken."
            ) from error
        content = graph.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.about.weights_sha256:
            raise NetworkCorrupt(f"The weights of generator {folder.name} have changed.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    def number_of(self, code: str) -> int:
        """Number of a class.

        Raises
        ------
        InvalidInput
            If the generator has not learned it.
        """
        if code not in self.about.codes:
            known = ", ".join(self.about.codes)
            raise InvalidInput(f"This generator draws {known}; {code} is not among them.")
        return self.about.codes.index(code)

    def draw(self, code: str, numbers: range, *, seed: int) -> Iterator[NDArray[np.uint8]]:
        """Pictures of a class by their numbers: the same number is the same picture.

        Parameters
        ----------
        code : str
        numbers : range
        seed : int

        Yields
        ------
        pixels : (S, S, 3) ndarray of uint8
        """
        label = self.number_of(code)
        for first in range(0, len(numbers), BATCH):
            noise = np.stack(
                [
                    np.random.default_rng([seed, label, n]).standard_normal(NOISE, np.float32)
                    for n in numbers[first : first + BATCH]
                ]
            )
            classes = np.full(len(noise), label, np.int64)
            (pixels,) = self._session.run(["pixels"], {"noise": noise, "classes": classes})
            yield from np.asarray(pixels)
