"""What a trained network says of itself; every number that serving needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utils.errors import NetworkCorrupt
from utils.imaging.preprocess import PreprocessSpec
from utils.networks.normalisation import Normalisation


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class LabelClass(_Frozen):
    """One class of a label set. Label sets are data: adding one needs no code."""

    code: str = Field(description="Stable code, as in folders and in JSON.")
    display_name: str = Field(description="As shown beside a result.")
    short_name: str = Field(description="For narrow columns.")
    lineage: str
    stage: str
    is_blast: bool
    counts_in_differential: bool
    colour: str = Field(description="Hexadecimal, told apart by the colour-blind.")
    note: str = Field(description="What must stand beside a result of this class.")


class OutOfDistribution(_Frozen):
    """Statistics of the validation embeddings.

    The distance of an embedding e: with z = (e - mean) / scale and p = components · z,
    the square root of the sum of (p / spread)² over the kept components and of the
    squared rest of z over its own mean, each divided by its number of dimensions.
    """

    mean: list[float]
    scale: list[float]
    components: list[list[float]]
    spread: list[float]
    rest: float = Field(gt=0, description="Mean square of what the components leave over.")
    threshold: float = Field(gt=0)

    def distance(self, embedding: NDArray[np.float32]) -> float:
        """How far an embedding lies from the training domain.

        Parameters
        ----------
        embedding : (D,) ndarray of float32

        Returns
        -------
        distance : float
            About 1 for a typical field; see `threshold`.
        """
        z = (embedding - np.array(self.mean, np.float32)) / np.array(self.scale, np.float32)
        components = np.array(self.components, np.float32)
        along = components @ z
        inside = float(np.mean((along / np.array(self.spread, np.float32)) ** 2))
        rest = z - components.T @ along
        outside = float(rest @ rest) / max(len(z) - len(along), 1) / self.rest
        return float(np.sqrt(0.5 * inside + 0.5 * outside))


class Manifest(_Frozen):
    """`manifest.json` of a trained network."""

    name: str
    version: str
    task: str
    created_at: str
    classes: list[LabelClass] = Field(min_length=2)
    backbone: str
    heat_layer: str = Field(description="Layer and score that the heatmaps are made of.")
    normalisation: Normalisation
    preprocess: PreprocessSpec
    temperature: float = Field(gt=0)
    abstain_below: float = Field(ge=0, le=1)
    out_of_distribution: OutOfDistribution
    training: dict[str, Any]
    metrics: dict[str, Any]
    libraries: dict[str, str]
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def codes(self) -> list[str]:
        """Class codes in the order of the logits."""
        return [label.code for label in self.classes]

    def label(self, code: str) -> LabelClass:
        """The class with this code; KeyError where there is none."""
        for label in self.classes:
            if label.code == code:
                return label
        raise KeyError(code)

    @staticmethod
    def load(path: Path) -> Manifest:
        """Read and check.

        Raises
        ------
        NetworkCorrupt
            If a field is missing or of the wrong kind; the sentence names it.
        """
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise NetworkCorrupt(
                f"The manifest of network {path.parent.parent.name}/{path.parent.name} is not "
                f"valid: {where}: {first['msg']}."
            ) from error

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(self.model_dump_json(indent=1))
