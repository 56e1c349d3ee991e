"""The views of a set of fields that evidence asks for: swapped, emptied, grey, degraded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging import counterfactual
from utils.imaging.outline import ellipse
from utils.imaging.preprocess import PreprocessSpec, hide_scale_bar, prepare
from utils.imaging.tile import outline_middle_cell
from utils.networks.classifier import softmax
from utils.networks.normalisation import Normalisation

RGBImage = NDArray[np.uint8]
ROBUSTNESS = ("stain_swap", "background_swap", "grey", "stain_jitter", "blur", "jpeg30")
# Only for pictures of single cells: fields bring their own magnification.
MAGNIFICATIONS = {"half_size": 0.5, "double_size": 2.0}


class Views:
    """A labelled set of fields and what the evidence makes of each.

    Parameters
    ----------
    pixels : list of (H, W, 3) ndarray of uint8
        RGB.
    targets : (N,) ndarray of int
    spec : PreprocessSpec
    seed : int
        Chooses the partners of the swaps.
    """

    def __init__(
        self, pixels: list[RGBImage], targets: NDArray[np.int64], *, spec: PreprocessSpec, seed: int
    ) -> None:
        # The bar goes first: a composite must carry neither its own nor another's.
        hides = spec.hide_scale_bar and spec.cell_context is None
        self.pixels = [hide_scale_bar(p) if hides else p for p in pixels]
        self.targets = targets
        self.spec = spec
        rng = np.random.default_rng(seed)
        self._partners = [
            int(rng.choice(others)) if len(others := np.flatnonzero(targets != t)) else i
            for i, t in enumerate(targets)
        ]
        self._factors = rng.uniform(0.7, 1.3, (len(pixels), 2))
        self._made: dict[int, RGBImage] = {}
        self._inputs: dict[tuple[int, str], RGBImage] = {}

    def __len__(self) -> int:
        return len(self.pixels)

    def input_of(self, number: int, view: str) -> RGBImage:
        """Network input of one field under one view.

        Parameters
        ----------
        number : int
        view : str
            "plain", "cells_removed" or one of `ROBUSTNESS`.

        Returns
        -------
        network_input : (input_px, input_px, 3) ndarray of uint8
        """
        return prepare(self.picture(number, view), self.spec).network_input

    def picture(self, number: int, view: str) -> RGBImage:
        """One field under one view, at its own size, before preprocessing.

        Returns
        -------
        pixels : (H, W, 3) ndarray of uint8
        """
        picture = self.pixels[number]
        simple: dict[str, Callable[[], RGBImage]] = {
            "plain": lambda: picture,
            "grey": lambda: counterfactual.grey(picture),
            "blur": lambda: counterfactual.blur(picture, min(picture.shape[:2]) / 224 * 1.2),
            "jpeg30": lambda: counterfactual.jpeg(picture, 30),
            "stain_jitter": lambda: counterfactual.scale_stains(
                picture,
                haematoxylin=float(self._factors[number, 0]),
                eosin=float(self._factors[number, 1]),
            ),
            "stain_swap": lambda: counterfactual.match_stain(
                picture, counterfactual.stain_statistics(self.pixels[self._partners[number]])
            ),
            "cells_removed": lambda: self._background(number),
            "background_swap": lambda: self._transplant(number),
            "half_size": lambda: _scaled(picture, MAGNIFICATIONS["half_size"]),
            "double_size": lambda: _scaled(picture, MAGNIFICATIONS["double_size"]),
        }
        return simple[view]()

    @property
    def robustness(self) -> tuple[str, ...]:
        """Names of the changed views that these pictures are tested under."""
        return ROBUSTNESS if self.spec.cell_context is None else (*ROBUSTNESS, *MAGNIFICATIONS)

    def _mask(self, picture: RGBImage, margin: float) -> NDArray[np.bool_]:
        """What is moved or removed: all nucleated cells, or the cell in the middle."""
        if self.spec.cell_context is None:
            return counterfactual.cell_mask(picture, margin=margin)
        return middle_cell_mask(picture, margin=margin)

    def _background(self, number: int) -> RGBImage:
        if number not in self._made:
            picture = self.pixels[number]
            mask = self._mask(picture, 8 / 224)
            self._made[number] = counterfactual.remove_cells(picture, mask)
        return self._made[number]

    def _transplant(self, number: int) -> RGBImage:
        picture, other = self.pixels[number], self._background(self._partners[number])
        height, width = picture.shape[:2]
        if other.shape != picture.shape:
            other = np.asarray(cv2.resize(other, (width, height)), dtype=np.uint8)
        return counterfactual.transplant_cells(
            picture, self._mask(picture, counterfactual.CELL_MARGIN), other
        )

    def _kept_input(self, number: int, view: str) -> RGBImage:
        # Each epoch asks for the same pictures; making one takes as long as reading it.
        if (number, view) not in self._inputs:
            self._inputs[number, view] = self.input_of(number, view)
        return self._inputs[number, view]

    def score(
        self, network: Any, side_px: int, normalisation: Normalisation, *, quick: bool = False
    ) -> dict[str, float]:
        """Accuracies that choose the best epoch.

        Parameters
        ----------
        network : keras.Model
            To logits.
        side_px : int
            Input side of the present stage.
        normalisation : Normalisation
        quick : bool
            Only some of the plain pictures, for epochs that cannot be the best.

        Returns
        -------
        scores : dict of str to float
            ``accuracy`` under each view, ``removed`` (mean highest probability
            of the fields without cells), ``val_loss`` and ``score``, the mean of
            the accuracies less what ``removed`` exceeds 0.40 by.
        """
        scores: dict[str, float] = {}
        views = {"plain": 1, "background_swap": 1, "stain_swap": 1, "grey": 2, "cells_removed": 2}
        if self.spec.cell_context is not None:
            views = {"plain": 1, "background_swap": 2, "stain_swap": 2, "grey": 4}
            views |= {"half_size": 2, "cells_removed": 4}
        if quick:
            views = {"plain": 4}
        for view, stride in views.items():
            numbers = np.arange(0, len(self), stride)
            inputs = (self._kept_input(int(i), view) for i in numbers)
            batch = np.stack([normalisation.apply(_shrink(p, side_px)) for p in inputs])
            parts = [batch[i : i + 32] for i in range(0, len(batch), 32)]
            logits = [np.asarray(network.predict_on_batch(part)) for part in parts]
            probability = softmax(np.concatenate(logits))
            right = probability.argmax(axis=1) == self.targets[numbers]
            if view == "cells_removed":
                scores["removed"] = float(probability.max(axis=1).mean())
                continue
            scores[view] = float(right.mean())
            if view == "plain":
                own = probability[np.arange(len(numbers)), self.targets[numbers]]
                scores["val_loss"] = float(-np.log(np.maximum(own, 1e-12)).mean())
        accuracies = [scores[view] for view in views if view != "cells_removed"]
        excess = max(0.0, scores.get("removed", 0.0) - 0.40)
        scores["score"] = float(np.mean(accuracies)) - excess
        return scores


def middle_cell_mask(pixels: RGBImage, *, margin: float) -> NDArray[np.bool_]:
    """The cell in the middle of a tile, with a margin.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    margin : float
        Dilation as a share of the shorter side.

    Returns
    -------
    mask : (H, W) ndarray of bool
    """
    height, width = pixels.shape[:2]
    outline = outline_middle_cell(pixels)
    if outline is None:
        return np.zeros((height, width), np.bool_)
    cell = outline.place(outline.cell, (height, width)).astype(np.uint8)
    disc = ellipse(max(1, round(margin * min(height, width))))
    return np.asarray(cv2.dilate(cell, disc) > 0)


def _scaled(picture: RGBImage, factor: float) -> RGBImage:
    height, width = picture.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def _shrink(pixels: RGBImage, side_px: int) -> RGBImage:
    if pixels.shape[0] == side_px:
        return pixels
    return np.asarray(cv2.resize(pixels, (side_px, side_px)), dtype=np.uint8)
