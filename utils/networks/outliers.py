"""Pictures that belong to no class, shown in training with the label "any".

Half are cells and fields of other kinds from folders that the trainer names,
half are drawn here: overlapping shapes, smooth clouds, noise. The pictures that
the evidence uses to test for images that are no smear come from elsewhere
(`utils.imaging.synthesis`), and no threshold is fitted on either.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.networks.dataset import list_folder, load_pixels

RGBImage = NDArray[np.uint8]


def outlier_pictures(
    folders: Sequence[Path], *, count: int, side_px: int, seed: int
) -> list[RGBImage]:
    """Draw and read pictures that belong to no class.

    Parameters
    ----------
    folders : sequence of Path
        Folders of class folders with pictures of another kind; absent ones are
        passed over.
    count : int
        How many altogether.
    side_px : int
    seed : int

    Returns
    -------
    pictures : list of (side_px, side_px, 3) ndarray of uint8
    """
    rng = np.random.default_rng(seed)
    files = [e.path for folder in folders if folder.is_dir() for e in list_folder(folder)]
    chosen = rng.permutation(len(files))[: count // 2]
    pictures = [
        np.asarray(cv2.resize(load_pixels(files[i]), (side_px, side_px)), dtype=np.uint8)
        for i in chosen
    ]
    makers = (_dead_leaves, _clouds, _noise)
    while len(pictures) < count:
        pictures.append(makers[len(pictures) % len(makers)](side_px, rng))
    return pictures


def _dead_leaves(side_px: int, rng: np.random.Generator) -> RGBImage:
    """Overlapping discs and boxes whose sizes follow a power law, as in photographs."""
    palette = rng.integers(0, 256, (int(rng.integers(2, 9)), 3))
    picture = np.empty((side_px, side_px, 3), dtype=np.uint8)
    picture[:] = palette[0]
    for _ in range(int(rng.integers(5, 200))):
        colour = palette[int(rng.integers(len(palette)))] + rng.integers(-20, 21, 3)
        colour = tuple(int(c) for c in np.clip(colour, 0, 255))
        x, y = (int(v) for v in rng.integers(0, side_px, 2))
        radius = int(min(side_px / 2, 3 / rng.random() ** 0.7))
        if rng.random() < 0.6:
            cv2.circle(picture, (x, y), radius, colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(picture, (x, y), (x + 2 * radius, y + radius), colour, -1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 2.5)), dtype=np.uint8)


def _clouds(side_px: int, rng: np.random.Generator) -> RGBImage:
    """Smooth noise of several octaves; grey in half of the pictures."""
    channels = 1 if rng.random() < 0.5 else 3
    total = np.zeros((side_px, side_px, channels), dtype=np.float32)
    for octave in range(1, int(rng.integers(2, 7))):
        coarse = rng.normal(size=(2**octave, 2**octave, channels)).astype(np.float32)
        scaled = cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
        total += scaled.reshape(side_px, side_px, channels) / octave
    total = total * rng.uniform(5, 70) + rng.uniform(30, 230)
    return np.repeat(np.clip(total, 0, 255), 3 // channels, axis=2).astype(np.uint8)


def _noise(side_px: int, rng: np.random.Generator) -> RGBImage:
    """Flat colour with noise of any strength, from a blank field to snow."""
    base = rng.uniform(0, 255, 3)
    spread = rng.choice([0.0, 5.0, 30.0, 90.0])
    return np.clip(rng.normal(base, spread, (side_px, side_px, 3)), 0, 255).astype(np.uint8)
