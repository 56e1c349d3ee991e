"""The views of a set of fields that evidence asks for: swapped, emptied, grey, degraded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging import counterfactual
from utils.imaging.preprocess import PreprocessSpec, hide_scale_bar, prepare
from utils.networks.classifier import softmax
from utils.networks.normalisation import Normalisation

RGBImage = NDArray[np.uint8]
ROBUSTNESS = ("stain_swap", "background_swap", "grey", "stain_jitter", "blur", "jpeg30")


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
        self.pixels = [hide_scale_bar(p) if spec.hide_scale_bar else p for p in pixels]
        self.targets = targets
        self.spec = spec
        rng = np.random.default_rng(seed)
        self._partners = [
            int(rng.choice(others)) if len(others := np.flatnonzero(targets != t)) else i
            for i, t in enumerate(targets)
        ]
        self._factors = rng.uniform(0.7, 1.3, (len(pixels), 2))
        self._made: dict[int, RGBImage] = {}

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
        }
        return simple[view]()

    def _background(self, number: int) -> RGBImage:
        if number not in self._made:
            picture = self.pixels[number]
            mask = counterfactual.cell_mask(picture, margin=8 / 224)
            self._made[number] = counterfactual.remove_cells(picture, mask)
        return self._made[number]

    def _transplant(self, number: int) -> RGBImage:
        picture, other = self.pixels[number], self._background(self._partners[number])
        height, width = picture.shape[:2]
        if other.shape != picture.shape:
            other = np.asarray(cv2.resize(other, (width, height)), dtype=np.uint8)
        return counterfactual.transplant_cells(picture, counterfactual.cell_mask(picture), other)

    def score(self, network: Any, side_px: int, normalisation: Normalisation) -> dict[str, float]:
        """Accuracies that choose the best epoch.

        Parameters
        ----------
        network : keras.Model
            To logits.
        side_px : int
            Input side of the present stage.
        normalisation : Normalisation

        Returns
        -------
        scores : dict of str to float
            ``accuracy`` under each view, ``removed`` (mean highest probability
            of the fields without cells), ``val_loss`` and ``score``, the mean of
            the accuracies less what ``removed`` exceeds 0.40 by.
        """
        scores: dict[str, float] = {}
        views = {"plain": 1, "background_swap": 1, "stain_swap": 2, "grey": 2, "cells_removed": 2}
        for view, stride in views.items():
            numbers = np.arange(0, len(self), stride)
            inputs = (self.input_of(int(i), view) for i in numbers)
            batch = np.stack([normalisation.apply(_shrink(p, side_px)) for p in inputs])
            parts = [batch[i : i + 32] for i in range(0, len(batch), 32)]
            logits = [np.asarray(network(part, training=False)) for part in parts]
            probability = softmax(np.concatenate(logits))
            right = probability.argmax(axis=1) == self.targets[numbers]
            if view == "cells_removed":
                scores["removed"] = float(probability.max(axis=1).mean())
                continue
            scores[view] = float(right.mean())
            if view == "plain":
                own = probability[np.arange(len(numbers)), self.targets[numbers]]
                scores["val_loss"] = float(-np.log(np.maximum(own, 1e-12)).mean())
        accuracies = [scores[v] for v in ("plain", "background_swap", "stain_swap", "grey")]
        scores["score"] = float(np.mean(accuracies)) - max(0.0, scores["removed"] - 0.40)
        return scores


def _shrink(pixels: RGBImage, side_px: int) -> RGBImage:
    if pixels.shape[0] == side_px:
        return pixels
    return np.asarray(cv2.resize(pixels, (side_px, side_px)), dtype=np.uint8)
