"""Differentiable changes of pictures before they are judged.

Real and generated pictures are changed alike, so the generator is not led to make changed ones,
and the discriminator sees so many versions of a few hundred pictures that it cannot learn them by
heart. Colour is shifted less than in the paper: here it carries the stain.

References
----------
.. [1] Zhao et al. (2020), Differentiable augmentation for data-efficient GAN training,
   arXiv:2006.10738.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

BRIGHTNESS, SATURATION, CONTRAST = 0.2, 0.4, 0.25
SHIFTED = 0.125
CUT_OUT = 0.35


def change(pictures: Any) -> Any:
    """Shift brightness, saturation and contrast; move; cut a square out.

    Parameters
    ----------
    pictures : (N, S, S, 3) tensor of float32

    Returns
    -------
    changed : (N, S, S, 3) tensor of float32
    """
    x = _recoloured(pictures)
    x = _moved(x)
    return _cut_out(x)


def _each(pictures: Any, low: float, high: float) -> Any:
    return tf.random.uniform((tf.shape(pictures)[0], 1, 1, 1), low, high)


def _recoloured(x: Any) -> Any:
    x = x + _each(x, -BRIGHTNESS, BRIGHTNESS)
    grey = tf.reduce_mean(x, axis=3, keepdims=True)
    x = (x - grey) * _each(x, 1 - SATURATION, 1 + SATURATION) + grey
    mean = tf.reduce_mean(x, axis=(1, 2, 3), keepdims=True)
    return (x - mean) * _each(x, 1 - CONTRAST, 1 + CONTRAST) + mean


def _moved(x: Any) -> Any:
    """Move by up to an eighth; what comes in is the picture's own mirror image."""
    count, side = tf.shape(x)[0], x.shape[1]
    reach = max(1, round(side * SHIFTED))
    padded = tf.pad(x, [[0, 0], [reach, reach], [reach, reach], [0, 0]], mode="REFLECT")
    by = tf.random.uniform((count, 2), 0, 2 * reach + 1, dtype=tf.int32)
    rows = by[:, :1] + tf.range(side)[None]
    cols = by[:, 1:] + tf.range(side)[None]
    padded = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(padded, cols, axis=2, batch_dims=1)


def _cut_out(x: Any) -> Any:
    count, side = tf.shape(x)[0], x.shape[1]
    half = max(1, round(side * CUT_OUT / 2))
    centre = tf.random.uniform((count, 2), 0, side, dtype=tf.int32)
    at = tf.range(side)[None]
    rows = tf.abs(at - centre[:, :1]) < half
    cols = tf.abs(at - centre[:, 1:]) < half
    kept = 1.0 - tf.cast(rows[:, :, None] & cols[:, None, :], x.dtype)
    return x * kept[..., None]
