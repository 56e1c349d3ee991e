"""Named ways of training a generator; data only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

NOISE = 100
# Sides of the first map of the generator; it doubles from layer to layer.
_BASES = (7, 4)


@dataclass(frozen=True)
class Preset:
    """One way of training a pair of networks.

    Attributes
    ----------
    name : str
    label : str
        As the page shows it.
    about : str
        One sentence for the page.
    side_px : int
        Of the pictures; 2^n times 7 or 4.
    generator, discriminator : tuple of int
        Maps of each layer, the last of the generator's (three colours) not named.
    loss : {"cross_entropy", "hinge"}
    conditioning : {"plane", "projection"}
        How the discriminator is told the class: as a plane beside the picture, learned from an
        embedding, or by the inner product with its own view of the picture [1]_.
    differentiable : bool
        Whether real and generated pictures are changed alike before they are judged [2]_.
    turned : bool
        Whether real pictures are turned and mirrored; a smear has no upper side.
    spectral : bool
        Whether the discriminator's kernels are divided by their largest singular value [3]_.
    generator_rate, discriminator_rate : float
    betas : tuple of float
        Of Adam.
    dropout : float
        After each layer of the discriminator.
    average : float
        Momentum of the running mean of the generator's weights; 0 keeps the weights themselves.
    epochs, batch : int

    References
    ----------
    .. [1] Miyato and Koyama (2018), arXiv:1802.05637.
    .. [2] Zhao et al. (2020), arXiv:2006.10738.
    .. [3] Miyato et al. (2018), arXiv:1802.05957.
    """

    name: str
    label: str
    about: str
    side_px: int
    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    loss: Literal["cross_entropy", "hinge"] = "hinge"
    conditioning: Literal["plane", "projection"] = "projection"
    differentiable: bool = True
    turned: bool = True
    spectral: bool = True
    generator_rate: float = 2e-4
    discriminator_rate: float = 4e-4
    betas: tuple[float, float] = (0.0, 0.9)
    dropout: float = 0.0
    average: float = 0.998
    epochs: int = 200
    batch: int = 32

    @property
    def base_px(self) -> int:
        """Side of the generator's first map."""
        return self.side_px >> len(self.generator)


def _few(side_px: int, generator: tuple[int, ...], discriminator: tuple[int, ...]) -> Preset:
    return Preset(
        f"few{side_px}",
        f"Few pictures, {side_px} px",
        "Real and generated pictures are changed alike before they are judged, which keeps a "
        "few hundred pictures from being learned by heart.",
        side_px,
        generator,
        discriminator,
    )


PRESETS = {
    preset.name: preset
    for preset in (
        _few(64, (256, 128, 64, 32), (32, 64, 128, 256)),
        _few(112, (256, 128, 64, 32), (32, 64, 128, 256)),
        _few(224, (256, 128, 64, 32, 16), (16, 32, 64, 128, 256)),
        Preset(
            "published",
            "As published, 224 px",
            "Five transposed convolutions against five strided ones, binary cross-entropy, "
            "dropout 0.3, Adam 0.0001, 50 epochs.",
            224,
            (256, 128, 64, 32, 16),
            (16, 32, 64, 128, 256),
            loss="cross_entropy",
            conditioning="plane",
            differentiable=False,
            turned=False,
            spectral=False,
            generator_rate=1e-4,
            discriminator_rate=1e-4,
            betas=(0.9, 0.999),
            dropout=0.3,
            average=0.0,
            epochs=50,
        ),
        Preset(
            "smoke",
            "Trial run, 32 px",
            "Small and quick, to see that all of it works.",
            32,
            (32, 16, 8),
            (8, 16, 32),
            epochs=2,
            batch=8,
            average=0.9,
        ),
    )
}
DEFAULT = "few112"


def check(preset: Preset) -> None:
    """Refuse a preset whose layers do not lead to its side.

    Raises
    ------
    ValueError
        A fault of the program: presets are data of ours.
    """
    if preset.base_px not in _BASES or math.prod((preset.base_px, 2 ** len(preset.generator))) != (
        preset.side_px
    ):
        raise ValueError(f"{len(preset.generator)} layers do not lead to {preset.side_px} px")
