"""Training pictures of single cells: the same cell by another stain, microscope and magnification.

Cells of one laboratory share a stain, a light and a camera. A network that is to
read another laboratory's must not lean on any of them: colour is shaken as
optical density (each channel, the two dyes, and a mixing between the channels),
taken away now and then, and borrowed from other tiles; resolution, focus and
compression change; the surroundings of the cell are sometimes another's or gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging import counterfactual
from utils.imaging.crop import WHITE_LEVEL, CellPlace, anchor_stain, balance_white, cut_square
from utils.imaging.nuclei import white_point
from utils.imaging.preprocess import PreprocessSpec, place_of
from utils.imaging.tile import outline_middle_cell

RGBImage = NDArray[np.uint8]


@dataclass(frozen=True)
class CellStrength:
    """How often and how strongly each change is made; shares are of all pictures.

    Colour misleads most from one laboratory to another: a network that saw 12 % grey cells named
    0.24 of `wbc_masks` rightly in colour and 0.66 in grey.
    """

    outlier: float = 0.03
    empty: float = 0.04
    swap: float = 0.35
    stain_mix: float = 0.4
    density: float = 0.8
    channel_mix: float = 0.6
    grey: float = 0.3
    light: float = 0.5
    optics: float = 0.4
    coarse: float = 0.35
    scale: tuple[float, float] = (0.8, 1.25)
    shift: float = 0.06
    # As if no outline had been found: the whole tile.
    unfound: float = 0.15


@dataclass(frozen=True)
class _Cell:
    """One tile, its background balanced, and where its cell stands."""

    pixels: RGBImage
    mask: NDArray[np.uint8]
    centre_px: tuple[float, float]
    diameter_px: float
    stain: NDArray[np.float32]


class Cells:
    """The training tiles in memory, each with its cell outlined.

    Parameters
    ----------
    pixels : list of (H, W, 3) ndarray of uint8
        RGB tiles with a cell in the middle.
    targets : (N,) ndarray of int
        Class numbers.
    outliers : list of (S, S, 3) ndarray of uint8
        Pictures that belong to no class.
    spec : PreprocessSpec
        Of a network that reads single cells.
    strength : CellStrength
    classes : int
    """

    def __init__(
        self,
        pixels: list[RGBImage],
        targets: NDArray[np.int64],
        *,
        outliers: list[RGBImage],
        spec: PreprocessSpec,
        strength: CellStrength,
        classes: int,
    ) -> None:
        self.targets = targets
        self.context = spec.cell_context or 1.0
        self.grey = spec.grey
        self.strength = strength
        self.classes = classes
        self._outliers = outliers
        self._cells = [_outlined(tile, spec) for tile in pixels]

    def __len__(self) -> int:
        return len(self._cells)

    def draw(
        self, number: int, *, input_px: int, rng: np.random.Generator
    ) -> tuple[RGBImage, NDArray[np.float32]]:
        """One training picture and its target.

        Parameters
        ----------
        number : int
            Position of the tile.
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
        cell = self._cells[number]
        target = np.eye(self.classes, dtype=np.float32)[int(self.targets[number])]
        nothing = np.full(self.classes, 1.0 / self.classes, dtype=np.float32)
        dice = rng.random()
        if dice < strength.outlier and self._outliers:
            outlier = self._outliers[int(rng.integers(len(self._outliers)))]
            return np.asarray(cv2.resize(outlier, (input_px, input_px)), np.uint8), nothing
        picture = cell.pixels
        if dice < strength.outlier + strength.empty:
            fill: counterfactual.Fill = "median" if rng.random() < 0.5 else "telea"
            mask = cv2.dilate(cell.mask, np.ones((7, 7), np.uint8)) > 0
            picture, target = counterfactual.remove_cells(picture, mask, fill=fill), nothing
        elif dice < strength.outlier + strength.empty + strength.swap:
            picture = self._on_another_ground(cell, rng)
        picture = self._cut(picture, cell, input_px, rng)
        picture = self._recolour(picture, rng)
        return self._degrade(picture, rng), target

    def _on_another_ground(self, cell: _Cell, rng: np.random.Generator) -> RGBImage:
        """The cell on another tile's surroundings, or on plain glass."""
        height, width = cell.pixels.shape[:2]
        if rng.random() < 0.4:
            ground = np.full_like(cell.pixels, WHITE_LEVEL - rng.uniform(0, 25))
        else:
            other = self._cells[int(rng.integers(len(self)))].pixels
            # Turned half about, so that the other's own cell does not stand
            # behind this one only.
            roll = rng.integers(height // 3, height // 2 + 1), rng.integers(0, width)
            ground = np.roll(other, roll, axis=(0, 1))
            if ground.shape != cell.pixels.shape:
                ground = np.asarray(cv2.resize(ground, (width, height)), np.uint8)
        disc = np.ones((5, 5), np.uint8)
        return counterfactual.transplant_cells(cell.pixels, cv2.dilate(cell.mask, disc) > 0, ground)

    def _cut(
        self, picture: RGBImage, cell: _Cell, input_px: int, rng: np.random.Generator
    ) -> RGBImage:
        centre_px, width = cell.centre_px, self.context * cell.diameter_px
        if rng.random() < self.strength.unfound:
            height_px, width_px = picture.shape[:2]
            centre_px, width = ((height_px - 1) / 2, (width_px - 1) / 2), min(height_px, width_px)
        width *= rng.uniform(*self.strength.scale)
        shift = rng.uniform(-self.strength.shift, self.strength.shift, 2) * width
        return cut_square(
            picture,
            (centre_px[0] + shift[0], centre_px[1] + shift[1]),
            width,
            side_px=input_px,
            angle_deg=float(rng.uniform(0.01, 360)),
            mirrored=bool(rng.random() < 0.5),
        )

    def _recolour(self, pixels: RGBImage, rng: np.random.Generator) -> RGBImage:
        strength = self.strength
        if rng.random() < strength.stain_mix:
            donor = self._cells[int(rng.integers(len(self)))].stain
            pixels = counterfactual.match_stain(pixels, donor)
        if rng.random() < strength.density:
            if rng.random() < 0.5:
                overall = rng.normal(0.0, 0.2)
                factors = np.exp(overall + rng.normal(0.0, 0.2, 3)).astype(np.float32)
                pixels = counterfactual.scale_densities(pixels, factors)
            else:
                haematoxylin, eosin = rng.uniform(0.55, 1.6, 2)
                pixels = counterfactual.scale_stains(pixels, haematoxylin=haematoxylin, eosin=eosin)
        if rng.random() < strength.channel_mix:
            mixing = np.eye(3) + rng.normal(0.0, rng.uniform(0.05, 0.3), (3, 3))
            pixels = counterfactual.mix_densities(pixels, mixing.astype(np.float32))
        if rng.random() < strength.light:
            gains = np.exp(rng.normal(0.0, 0.05) + rng.normal(0.0, 0.04, 3))
            table = np.clip(np.arange(256.0)[:, None] * gains[None], 0, 255).astype(np.uint8)
            pixels = np.asarray(cv2.LUT(pixels, table[None]), np.uint8)
        if self.grey or rng.random() < strength.grey:
            pixels = counterfactual.grey(pixels)
        return pixels

    def _degrade(self, pixels: RGBImage, rng: np.random.Generator) -> RGBImage:
        strength, side = self.strength, pixels.shape[0]
        if rng.random() < strength.coarse:
            # As if the cell had come from a lower magnification.
            small = max(16, round(side * rng.uniform(0.25, 0.8)))
            pixels = np.asarray(cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA))
            pixels = np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR))
        if rng.random() < strength.optics * 0.6:
            pixels = counterfactual.blur(pixels, rng.uniform(0.4, 2.0) * side / 160)
        if rng.random() < strength.optics * 0.4:
            # Some cameras sharpen.
            soft = cv2.GaussianBlur(pixels, (0, 0), 1.5)
            amount = rng.uniform(0.3, 1.2)
            pixels = np.asarray(cv2.addWeighted(pixels, 1 + amount, soft, -amount, 0), np.uint8)
        if rng.random() < strength.optics * 0.6:
            pixels = counterfactual.jpeg(pixels, int(rng.integers(25, 90)))
        return pixels


def _outlined(tile: RGBImage, spec: PreprocessSpec) -> _Cell:
    height, width = tile.shape[:2]
    context = spec.cell_context or 1.0
    balanced = balance_white(tile, white_point(tile))
    outline = outline_middle_cell(tile)
    if outline is None:
        mask = np.zeros((height, width), np.uint8)
        place = CellPlace(((height - 1) / 2, (width - 1) / 2), min(height, width) / context)
    else:
        mask = outline.place(outline.cell, (height, width)).astype(np.uint8)
        place = place_of(outline)
    if spec.nucleus_density is not None:
        balanced = anchor_stain(balanced, place.nucleus, spec.nucleus_density)
    crop = cut_square(balanced, place.centre_px, context * place.diameter_px, side_px=96)
    stain = counterfactual.stain_statistics(crop)
    return _Cell(balanced, mask, place.centre_px, place.diameter_px, stain)
