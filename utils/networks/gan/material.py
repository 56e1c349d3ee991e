"""The real fields that a generator learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.errors import DatasetInvalid
from utils.imaging.preprocess import SCALE_BAR_HEIGHT
from utils.networks.dataset import Example, load_pixels

RGBImage = NDArray[np.uint8]
# Fewer pictures of a class say nothing about it.
LEAST_OF_A_CLASS = 16


@dataclass(frozen=True)
class Fields:
    """Real fields in memory.

    Attributes
    ----------
    pixels : (N, S, S, 3) ndarray of uint8
    targets : (N,) ndarray of int64
    codes : tuple of str
        Class codes.
    """

    pixels: RGBImage
    targets: NDArray[np.int64]
    codes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.targets)


def thinned(fields: Fields, each: int) -> Fields:
    """At most so many pictures of each class, spread over all of them.

    Parameters
    ----------
    fields : Fields
    each : int

    Returns
    -------
    fields : Fields
    """
    kept: list[int] = []
    for label in range(len(fields.codes)):
        members = np.flatnonzero(fields.targets == label)
        kept += members[:: max(1, -(-len(members) // each))].tolist()
    return Fields(fields.pixels[kept], fields.targets[kept], fields.codes)


def above_the_bar(pixels: RGBImage) -> RGBImage:
    """The upper square of a field, without the strip that a scale bar is burned into.

    Covered, as for the networks that name fields, the corner would be learned as a thing of its
    own and drawn into every picture.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8

    Returns
    -------
    square : (S, S, 3) ndarray of uint8
    """
    height, width = pixels.shape[:2]
    side = min(width, height - max(1, round(height * SCALE_BAR_HEIGHT)))
    left = (width - side) // 2
    return np.ascontiguousarray(pixels[:side, left : left + side])


def load_fields(examples: Sequence[Example], codes: Sequence[str], side_px: int) -> Fields:
    """Decode, take the part above the scale bar, and resize.

    Parameters
    ----------
    examples : sequence of Example
    codes : sequence of str
        Classes that are wanted; others are left out.
    side_px : int

    Returns
    -------
    fields : Fields

    Raises
    ------
    DatasetInvalid
        If a class has too few pictures.
    """
    wanted = [e for e in examples if e.code in codes]
    for code in codes:
        count = sum(e.code == code for e in wanted)
        if count < LEAST_OF_A_CLASS:
            raise DatasetInvalid(
                f"Expected at least {LEAST_OF_A_CLASS} pictures of {code}; there are {count}."
            )
    pixels = np.empty((len(wanted), side_px, side_px, 3), np.uint8)
    for i, example in enumerate(wanted):
        square = above_the_bar(load_pixels(example.path))
        smaller = cv2.INTER_AREA if square.shape[0] > side_px else cv2.INTER_LINEAR
        pixels[i] = cv2.resize(square, (side_px, side_px), interpolation=smaller)
    targets = np.array([list(codes).index(e.code) for e in wanted], dtype=np.int64)
    return Fields(pixels, targets, tuple(codes))


def turned(pixels: RGBImage, rng: np.random.Generator) -> RGBImage:
    """A picture by one of the eight symmetries of its square.

    Parameters
    ----------
    pixels : (S, S, 3) ndarray of uint8
    rng : numpy.random.Generator

    Returns
    -------
    pixels : (S, S, 3) ndarray of uint8
    """
    pixels = np.rot90(pixels, int(rng.integers(4)))
    return np.ascontiguousarray(pixels[:, ::-1] if rng.random() < 0.5 else pixels)
