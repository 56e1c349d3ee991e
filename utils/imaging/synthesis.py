"""Synthetic smear fields with exact truth, for tests and for pictures without patients.

Light passes through stain as through a filter: densities of all that lies on a
spot add up, and the pixel is the lamp's colour times exp(-density) (Beer-Lambert).
That is why overlapping cells and uneven light look right without any care.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.impostors import KINDS, not_a_smear

__all__ = ["KINDS", "STAINS", "Stain", "SyntheticField", "field", "not_a_smear"]

RGBImage = NDArray[np.uint8]
FloatImage = NDArray[np.float32]
LabelImage = NDArray[np.int32]
Density = tuple[float, float, float]


@dataclass(frozen=True)
class Stain:
    """Optical densities (R, G, B) of what a smear is made of, and the lamp's colour."""

    chromatin: Density
    cytoplasm: Density
    red_cell: Density
    platelet: Density
    lamp: tuple[float, float, float]


# Densities as measured on fields of `all4` (Pre: blue; Pro: rose) and `bccd` (classic).
STAINS = {
    "classic": Stain(
        (0.80, 1.15, 0.30), (0.30, 0.26, 0.08), (0.08, 0.30, 0.27), (0.30, 0.45, 0.12),
        (248.0, 246.0, 240.0),
    ),
    "blue": Stain(
        (0.62, 1.00, 0.20), (0.36, 0.32, 0.08), (0.52, 0.38, 0.14), (0.35, 0.50, 0.10),
        (240.0, 248.0, 253.0),
    ),
    "rose": Stain(
        (0.18, 0.66, 0.08), (0.12, 0.24, 0.05), (0.32, 0.22, 0.17), (0.22, 0.42, 0.08),
        (251.0, 249.0, 246.0),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class SyntheticField:
    """A drawn field and what is in it.

    Attributes
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB.
    labels : (H, W) ndarray of int32
        0 is background; nuclei run 1..count.
    count : int
        Nucleated cells; none is cut by the border.
    """

    pixels: RGBImage
    labels: LabelImage
    count: int


@dataclass(frozen=True)
class _Cell:
    row: float
    col: float
    radius: float


def field(
    seed: int,
    *,
    height: int = 224,
    width: int = 224,
    cells: int = 10,
    touching_share: float = 0.3,
    red_cell_radius_px: float | None = None,
    red_cells: bool = True,
    platelets: int = 4,
    stain: str = "classic",
) -> SyntheticField:
    """Draw a smear field.

    Parameters
    ----------
    seed : int
        The same seed gives the same field.
    height, width : int
        Pixels.
    cells : int
        Nucleated cells wished for; fewer where they find no room.
    touching_share : float
        Part of the cells placed in touch with another one, 0 to 1.
    red_cell_radius_px : float, optional
        By default 4 % of the shorter side, as in `all4`.
    red_cells : bool
        Whether red cells lie around.
    platelets : int
        Number of platelets.
    stain : {"classic", "blue", "rose"}

    Returns
    -------
    field : SyntheticField
    """
    rng = np.random.default_rng(seed)
    colours = STAINS[stain]
    unit = red_cell_radius_px or 0.04 * min(height, width)
    placed = _place(rng, height, width, cells, touching_share, unit)
    density = np.zeros((height, width, 3), np.float32)
    if red_cells:
        for red in _scatter_red_cells(rng, height, width, placed, unit):
            _draw_red_cell(density, rng, red, colours)
    for _ in range(platelets):
        _draw_platelet(density, rng, unit, colours)
    labels = np.zeros((height, width), np.int32)
    for number, cell in enumerate(placed, start=1):
        _draw_nucleated(density, labels, number, rng, cell, colours)
    return SyntheticField(_expose(density, rng, colours), labels, len(placed))


def _place(
    rng: np.random.Generator,
    height: int,
    width: int,
    cells: int,
    touching_share: float,
    unit: float,
) -> list[_Cell]:
    """Nuclei inside the frame: some in pairs that touch, the others well apart."""
    placed: list[_Cell] = []
    for _ in range(40 * cells):
        if len(placed) == cells:
            break
        radius = unit * float(rng.uniform(1.15, 1.5))
        margin = 1.3 * radius + 2.0
        if margin >= min(height, width) / 2:
            break
        partner = None
        if placed and rng.random() < touching_share:
            partner = placed[int(rng.integers(len(placed)))]
            angle = float(rng.uniform(0.0, 2.0 * math.pi))
            reach = 0.98 * (radius + partner.radius)
            cell = _Cell(
                partner.row + reach * math.sin(angle), partner.col + reach * math.cos(angle), radius
            )
        else:
            row = float(rng.uniform(margin, height - margin))
            cell = _Cell(row, float(rng.uniform(margin, width - margin)), radius)
        inside = margin < cell.row < height - margin and margin < cell.col < width - margin
        if inside and all(
            math.hypot(cell.row - other.row, cell.col - other.col)
            > 1.35 * (radius + other.radius) * (other is not partner)
            for other in placed
        ):
            placed.append(cell)
    return placed


def _scatter_red_cells(
    rng: np.random.Generator, height: int, width: int, nuclei: list[_Cell], unit: float
) -> list[_Cell]:
    """Red cells over a third of the field, beside the nuclei, a few overlapping."""
    wanted = int(0.36 * height * width / (math.pi * unit**2))
    found: list[_Cell] = []
    centres = np.zeros((wanted, 2))
    avoided = np.array([[cell.row, cell.col, cell.radius] for cell in nuclei]).reshape(-1, 3)
    rows = rng.uniform(-unit, height + unit, 4 * wanted)
    cols = rng.uniform(-unit, width + unit, 4 * wanted)
    sizes = unit * rng.uniform(0.88, 1.1, 4 * wanted)
    for row, col, radius in zip(rows.tolist(), cols.tolist(), sizes.tolist(), strict=True):
        if len(found) == wanted:
            break
        away = np.hypot(avoided[:, 0] - row, avoided[:, 1] - col)
        if (away < avoided[:, 2] * 1.22 + radius).any():
            continue
        beside = centres[: len(found)]
        if (np.hypot(beside[:, 0] - row, beside[:, 1] - col) < 1.75 * unit).any():
            continue
        centres[len(found)] = row, col
        found.append(_Cell(row, col, radius))
    return found


def _window(
    shape: tuple[int, ...], row: float, col: float, reach: float
) -> tuple[slice, slice, FloatImage, FloatImage] | None:
    """Part of the field around a point, with offsets from it; None outside the field."""
    top, bottom = max(0, math.floor(row - reach)), min(shape[0], math.ceil(row + reach) + 1)
    left, right = max(0, math.floor(col - reach)), min(shape[1], math.ceil(col + reach) + 1)
    if top >= bottom or left >= right:
        return None
    down = (np.arange(top, bottom, dtype=np.float32) - np.float32(row))[:, None]
    across = (np.arange(left, right, dtype=np.float32) - np.float32(col))[None, :]
    return slice(top, bottom), slice(left, right), down, across


def _outline(
    rng: np.random.Generator, down: FloatImage, across: FloatImage, radius: float, unevenness: float
) -> FloatImage:
    """Distance from the centre in units of a slightly irregular outline's own radius."""
    angle = np.arctan2(down, across)
    swell = np.ones_like(angle)
    for wave in (2, 3, 4, 5):
        phase = float(rng.uniform(0.0, 2.0 * math.pi))
        swell += np.float32(unevenness * rng.normal() / wave) * np.cos(wave * angle + phase)
    return np.asarray(np.hypot(down, across) / (np.float32(radius) * swell), np.float32)


def _edge(distance: FloatImage, radius: float, softness_px: float = 0.8) -> FloatImage:
    """1 inside an outline, 0 outside, with a soft step of about a pixel."""
    step = (1.0 - distance) * np.float32(radius / softness_px) + 0.5
    return np.asarray(np.clip(step, 0.0, 1.0), np.float32)


def _mottle(rng: np.random.Generator, shape: tuple[int, ...], grain_px: float) -> FloatImage:
    """Smooth noise with mean 0, standard deviation about 1 and grains of a given size."""
    coarse = (max(2, round(shape[0] / grain_px) + 2), max(2, round(shape[1] / grain_px) + 2))
    grains = rng.normal(0.0, 1.4, coarse).astype(np.float32)
    return np.asarray(
        cv2.resize(grains, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32
    )


def _draw_red_cell(
    density: FloatImage, rng: np.random.Generator, cell: _Cell, colours: Stain
) -> None:
    window = _window(density.shape, cell.row, cell.col, 1.2 * cell.radius + 2.0)
    if window is None:
        return
    rows, cols, down, across = window
    distance = _outline(rng, down, across, cell.radius, 0.04)
    # A biconcave disc: thickest at 70 % of the radius, pale in the middle.
    pallor = float(rng.uniform(0.35, 0.75))
    thickness = 1.0 - np.float32(pallor) * np.exp(-((distance / 0.42) ** 2))
    amount = thickness * _edge(distance, cell.radius) * np.float32(rng.uniform(0.8, 1.15))
    density[rows, cols] += amount[..., None] * np.array(colours.red_cell, np.float32)


def _draw_platelet(
    density: FloatImage, rng: np.random.Generator, unit: float, colours: Stain
) -> None:
    radius = unit * float(rng.uniform(0.16, 0.28))
    row, col = rng.uniform(0, density.shape[0]), rng.uniform(0, density.shape[1])
    window = _window(density.shape, float(row), float(col), 1.5 * radius + 2.0)
    if window is None:
        return
    rows, cols, down, across = window
    distance = _outline(rng, down, across, radius, 0.2)
    grain = 1.0 + 0.35 * _mottle(rng, distance.shape, max(1.5, 0.4 * radius))
    amount = _edge(distance, radius, max(0.8, 0.5 * radius)) * np.clip(grain, 0.2, None)
    density[rows, cols] += amount[..., None] * np.array(colours.platelet, np.float32)


def _draw_nucleated(
    density: FloatImage,
    labels: LabelImage,
    number: int,
    rng: np.random.Generator,
    cell: _Cell,
    colours: Stain,
) -> None:
    """A blast: scanty basophilic cytoplasm, fine chromatin, a nucleolus or two."""
    window = _window(density.shape, cell.row, cell.col, 1.6 * cell.radius + 2.0)
    if window is None:
        return
    rows, cols, down, across = window
    here = density[rows, cols]
    lean = 0.12 * cell.radius * rng.normal(size=2).clip(-1.5, 1.5).astype(np.float32)
    body_radius = cell.radius * float(rng.uniform(1.1, 1.22))
    body = _edge(_outline(rng, down + lean[0], across + lean[1], body_radius, 0.06), body_radius)
    distance = _outline(rng, down, across, cell.radius, 0.04)
    nucleus = _edge(distance, cell.radius)
    # What lies beneath a nucleated cell does not shine through it.
    here *= (1.0 - np.maximum(body, nucleus))[..., None]
    here += (body * (1.0 - nucleus))[..., None] * np.array(colours.cytoplasm, np.float32)
    chromatin = 1.0 + 0.10 * _mottle(rng, distance.shape, max(2.0, 0.22 * cell.radius))
    chromatin += np.float32(0.12) * (distance > 0.82)
    for _ in range(int(rng.integers(0, 3))):
        at = 0.45 * cell.radius * rng.normal(size=2).clip(-1.0, 1.0).astype(np.float32)
        spot = np.hypot(down - at[0], across - at[1]) / np.float32(0.2 * cell.radius)
        chromatin -= np.float32(0.25) * np.exp(-(spot**2))
    amount = nucleus * chromatin * np.float32(rng.uniform(0.85, 1.2))
    here += amount[..., None] * np.array(colours.chromatin, np.float32)
    mine = labels[rows, cols]
    mine[(nucleus > 0.5) & (mine == 0)] = number


def _expose(density: FloatImage, rng: np.random.Generator, colours: Stain) -> RGBImage:
    """Uneven light, lens blur and sensor noise."""
    height, width = density.shape[:2]
    down = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    across = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    tilt = 0.03 * rng.normal(size=2).astype(np.float32)
    light = 1.0 + tilt[0] * down + tilt[1] * across - 0.04 * (down**2 + across**2)
    sharp = np.exp(-density) * (np.array(colours.lamp, np.float32) * light[..., None])
    seen = cv2.GaussianBlur(sharp, (0, 0), 0.7)
    grain = rng.standard_normal(seen.shape, dtype=np.float32) * np.float32(1.6)
    return np.asarray(np.clip(seen + grain + 0.5, 0.0, 255.0), np.uint8)
