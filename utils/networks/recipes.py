"""Named ways of training; data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from utils.networks.augmentation import PUBLISHED, Strength


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
    patience : int
        Epochs of the last stage without a better score before it stops.
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
    patience: int = 8
    strength: Strength = field(default_factory=Strength)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("cells", stages=((160, 28), (224, 14))),
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
        Recipe("smoke", stages=((64, 1), (96, 1)), batch=8, bfloat16=False),
    )
}
DEFAULT = "cells"
