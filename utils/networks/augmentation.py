"""Training pictures: the same cell under other stains, backgrounds and optics.

EVIDENCE of this set shows that a network reads the slide when it may. So the
cells are moved to other backgrounds, and pictures without cells carry the
label "any": nothing but the cells is left to tell the classes apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging import counterfactual
from utils.imaging.preprocess import PreprocessSpec, hide_scale_bar, prepare

RGBImage = NDArray[np.uint8]
FILLS: tuple[counterfactual.Fill, ...] = ("telea", "navier_stokes", "median")


@dataclass(frozen=True)
class Strength:
    """How often and how strongly each change is made; shares are of all pictures."""

    swap: float = 0.55
    empty: float = 0.17
    outlier: float = 0.05
    stain_mix: float = 0.5
    density: float = 0.8
    grey: float = 0.12
    optics: float = 0.3
    rotate: bool = True
    scale: tuple[float, float] = (0.85, 1.25)
    shift: float = 0.06


PUBLISHED = Strength(
    swap=0, empty=0, outlier=0, stain_mix=0, density=0, grey=0, optics=0, scale=(0.9, 1.1)
)


class Fields:
    """The training fields in memory, with their cells masked and removed.

    Parameters
    ----------
    pixels : sequence of (S, S, 3) ndarray of uint8
        RGB, all of one size.
    targets : (N,) ndarray of int
        Class numbers.
    outliers : sequence of (S, S, 3) ndarray of uint8
        Pictures that belong to no class.
    classes : int
    spec : PreprocessSpec
    strength : Strength
    seed : int
    """

    def __init__(
        self,
        pixels: list[RGBImage],
        targets: NDArray[np.int64],
        *,
        outliers: list[RGBImage],
        classes: int,
        spec: PreprocessSpec,
        strength: Strength,
        seed: int,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.targets = targets
        self.classes = classes
        self.spec = spec
        self.strength = strength
        self.outliers = outliers
        # Before anything else: a composite must not carry a bar either.
        self.pixels = [hide_scale_bar(p) for p in pixels]
        self.stains = [counterfactual.stain_statistics(p) for p in self.pixels]
        self.masks: list[NDArray[np.bool_]] = []
        self.backgrounds: list[RGBImage] = []
        for picture in self.pixels:
            wide = counterfactual.cell_mask(picture, margin=rng.uniform(7, 11) / 224)
            self.masks.append(counterfactual.cell_mask(picture, margin=rng.uniform(4, 8) / 224))
            fill = FILLS[int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
            self.backgrounds.append(counterfactual.remove_cells(picture, wide, fill=fill))
        self.others = {int(t): np.flatnonzero(targets != t) for t in np.unique(targets)}

    def __len__(self) -> int:
        return len(self.pixels)

    def draw(
        self, number: int, *, input_px: int, rng: np.random.Generator
    ) -> tuple[RGBImage, NDArray[np.float32]]:
        """One training picture and its target.

        Parameters
        ----------
        number : int
            Position of the field.
        input_px : int
            Side of the result, pixels.
        rng : numpy.random.Generator

        Returns
        -------
        pixels : (input_px, input_px, 3) ndarray of uint8
        target : (classes,) ndarray of float32
            One-hot, or uniform where nothing is left to read.
        """
        strength = self.strength
        target = np.eye(self.classes, dtype=np.float32)[int(self.targets[number])]
        nothing = np.full(self.classes, 1.0 / self.classes, dtype=np.float32)
        dice = rng.random()
        if dice < strength.outlier and self.outliers:
            picture, target = self.outliers[int(rng.integers(len(self.outliers)))], nothing
        elif dice < strength.outlier + strength.empty:
            picture, target = self.backgrounds[number], nothing
        elif dice < strength.outlier + strength.empty + strength.swap:
            other = int(rng.choice(self.others[int(self.targets[number])]))
            picture = counterfactual.transplant_cells(
                self.pixels[number], self.masks[number], self.backgrounds[other]
            )
        else:
            picture = self.pixels[number]
        picture = _recolour(picture, self, strength, rng)
        picture = _degrade(picture, strength, rng)
        picture = prepare(picture, self.spec).network_input
        return _move(picture, input_px, strength, rng), target


def _recolour(
    pixels: RGBImage, fields: Fields, strength: Strength, rng: np.random.Generator
) -> RGBImage:
    if rng.random() < strength.stain_mix:
        donor = fields.stains[int(rng.integers(len(fields)))]
        pixels = counterfactual.match_stain(pixels, donor)
    if rng.random() < strength.density:
        if rng.random() < 0.5:
            factors = np.exp(rng.normal(0.0, 0.18, 3)).astype(np.float32)
            pixels = counterfactual.scale_densities(pixels, factors)
        else:
            haematoxylin, eosin = rng.uniform(0.65, 1.4, 2)
            pixels = counterfactual.scale_stains(pixels, haematoxylin=haematoxylin, eosin=eosin)
    if rng.random() < strength.grey:
        pixels = counterfactual.grey(pixels)
    return pixels


def _degrade(pixels: RGBImage, strength: Strength, rng: np.random.Generator) -> RGBImage:
    if rng.random() < strength.optics:
        gain = rng.uniform(0.75, 1.25)
        pixels = np.clip(pixels * np.float32(gain), 0, 255).astype(np.uint8)
    if rng.random() < strength.optics * 0.6:
        pixels = counterfactual.blur(pixels, rng.uniform(0.4, 1.6))
    if rng.random() < strength.optics * 0.6:
        pixels = counterfactual.jpeg(pixels, int(rng.integers(25, 90)))
    return pixels


def _move(
    pixels: RGBImage, input_px: int, strength: Strength, rng: np.random.Generator
) -> RGBImage:
    side = pixels.shape[0]
    angle = rng.uniform(0, 360) if strength.rotate else 0.0
    factor = rng.uniform(*strength.scale) * input_px / side
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, factor)
    shift = rng.uniform(-strength.shift, strength.shift, 2) * input_px
    matrix = np.asarray(matrix, dtype=np.float64)
    matrix[:, 2] += (input_px - side) / 2 + shift
    moved = cv2.warpAffine(
        pixels,
        matrix,
        (input_px, input_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    if rng.random() < 0.5:
        moved = moved[:, ::-1]
    return np.ascontiguousarray(moved, dtype=np.uint8)
