"""From RGB bytes to the numbers that the weights expect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Normalisation:
    """(x / 255 - mean) / std on each channel, in RGB order.

    The caffe mode of keras.applications (BGR, mean subtracted, not scaled) is
    the same family with its channels exchanged, see `CAFFE`.

    Attributes
    ----------
    name : str
    mean, std : tuple of float
        Three each, for the channels in the order of the network's input.
    bgr : bool
        Whether the network's input is in BGR order.
    """

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise.

        Parameters
        ----------
        pixels : (..., 3) ndarray of uint8
            RGB; not modified.

        Returns
        -------
        normalised : (..., 3) ndarray of float32
        """
        ordered = pixels[..., ::-1] if self.bgr else pixels
        gain = np.float32(1.0) / (np.array(self.std, np.float32) * np.float32(255.0))
        offset = np.array(self.mean, np.float32) / np.array(self.std, np.float32)
        return np.asarray(ordered * gain - offset, dtype=np.float32)


IMAGENET = Normalisation("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAFFE = Normalisation(
    "caffe", (103.939 / 255, 116.779 / 255, 123.68 / 255), (1 / 255, 1 / 255, 1 / 255), bgr=True
)
NORMALISATIONS = {n.name: n for n in (IMAGENET, CAFFE)}
