"""Named ways of training; data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from utils.imaging.preprocess import PreprocessSpec
from utils.networks.augmentation import PUBLISHED, Strength
from utils.networks.cell_augmentation import CellStrength


@dataclass(frozen=True)
class Recipe:
    """One way of training a network.

    Attributes
    ----------
    stages : tuple of (int, int)
        Input side in pixels and epochs, one pair after the other. Small
        pictures first save most of the time.
    optimiser : {"adamw", "adam"}
    learning_rate : float
        Peak; falls along a half cosine where `cosine` is set.
    loss : {"cross_entropy", "focal"}
    class_weights : {"balanced", "none"}
    smoothing : float
        Share of each target that is spread over all classes; for noisy labels.
    average : float
        Momentum of the running mean of the weights, step by step; what is scored
        and kept is the mean. 0 keeps the weights themselves.
    patience : int
        Epochs of the last stage without a better score before it stops.
    spec : PreprocessSpec
        How a picture is prepared: a whole field, or the cell in its middle.
    strength : Strength or CellStrength
        How the pictures are changed; of cells where the spec reads cells.
    settled : Strength or CellStrength, optional
        How they are changed in the last `settling` epochs: less, so that the network
        ends on pictures that look like those it will read.
    settling : int
    """

    name: str
    stages: tuple[tuple[int, int], ...]
    optimiser: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 1.5e-4
    cosine: bool = True
    warm_up: float = 0.03
    weight_decay: float = 1e-4
    batch: int = 32
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    class_weights: Literal["balanced", "none"] = "balanced"
    bfloat16: bool = True
    smoothing: float = 0.0
    average: float = 0.0
    patience: int = 8
    spec: PreprocessSpec = field(default_factory=PreprocessSpec)
    strength: Strength | CellStrength = field(default_factory=Strength)
    settled: Strength | CellStrength | None = None
    settling: int = 0


_SINGLE: dict[str, Any] = {
    "smoothing": 0.06,
    "average": 0.995,
    # Wide enough that the red cells around show how large the cell is.
    "spec": PreprocessSpec(input_px=160, cell_context=1.75),
    "strength": CellStrength(),
    "settled": CellStrength(
        outlier=0.02,
        swap=0.15,
        stain_mix=0.3,
        channel_mix=0.4,
        light=0.4,
        optics=0.25,
        coarse=0.2,
        scale=(0.85, 1.2),
        shift=0.04,
    ),
    "settling": 4,
}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "cells",
            stages=((160, 30), (224, 18)),
            average=0.995,
            strength=Strength(swap=0.6, stain_mix=0.65, grey=0.15),
        ),
        Recipe("single_cells", stages=((128, 24), (160, 16)), **_SINGLE),
        # Goes on from a network of `single_cells`.
        Recipe("single_cells_onward", stages=((128, 4), (160, 10)), learning_rate=1e-4, **_SINGLE),
        Recipe(
            "published",
            stages=((224, 25),),
            optimiser="adam",
            learning_rate=1e-6,
            cosine=False,
            warm_up=0.0,
            class_weights="none",
            bfloat16=False,
            patience=25,
            strength=PUBLISHED,
        ),
        Recipe("smoke", stages=((64, 1), (96, 1)), batch=8, average=0.9, bfloat16=False),
    )
}
DEFAULT = "cells"
