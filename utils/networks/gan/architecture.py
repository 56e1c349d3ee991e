"""Generator and discriminator, both told the class.

A well-known example lays the class beside the picture by repeating its one-hot code and reshaping
the row to planes, which mixes the classes' planes with one another. Here a class is an embedding:
joined to the noise, and for the discriminator either a plane that is learned from it or the vector
that its view of the picture is multiplied with.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from utils.networks.gan.presets import NOISE, Preset, check

EMBEDDED = 32
# Of each transposed convolution; divisible by its stride, which leaves no chequerboard.
KERNEL = 4
SLOPE = 0.2


def build_generator(preset: Preset, classes: int) -> keras.Model:
    """Noise and class to a picture.

    Parameters
    ----------
    preset : Preset
    classes : int

    Returns
    -------
    network : keras.Model
        From noise (N, 100) float32 and class numbers (N,) int32 to pictures (N, S, S, 3) float32
        from -1 to 1.
    """
    check(preset)
    noise = layers.Input((NOISE,), name="noise")
    numbers = layers.Input((), dtype="int32", name="classes")
    told = layers.Embedding(classes, EMBEDDED, name="embedding")(numbers)
    base, widths = preset.base_px, (*preset.generator, 3)
    x = layers.Concatenate(name="told_noise")([noise, told])
    x = layers.Dense(base * base * widths[0], use_bias=False, name="base")(x)
    x = layers.Reshape((base, base, widths[0]), name="first_map")(x)
    x = _awake(x, "first")
    for number, width in enumerate(widths[1:], 1):
        last = number == len(widths) - 1
        x = layers.Conv2DTranspose(
            width, KERNEL, strides=2, padding="same", use_bias=last, name=f"up{number}"
        )(x)
        x = layers.Activation("tanh", name="picture")(x) if last else _awake(x, f"up{number}")
    return keras.Model([noise, numbers], x, name="generator")


def _awake(x: Any, name: str) -> Any:
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.LeakyReLU(negative_slope=SLOPE, name=f"{name}_relu")(x)


def build_discriminator(preset: Preset, classes: int) -> keras.Model:
    """Picture and class to how real it looks.

    Parameters
    ----------
    preset : Preset
    classes : int

    Returns
    -------
    network : keras.Model
        From pictures (N, S, S, 3) float32 and class numbers (N,) int32 to logits (N, 1) float32.
    """
    side = preset.side_px
    pictures = layers.Input((side, side, 3), name="pictures")
    numbers = layers.Input((), dtype="int32", name="classes")
    x = pictures
    if preset.conditioning == "plane":
        told = layers.Embedding(classes, EMBEDDED, name="embedding")(numbers)
        plane = layers.Dense(side * side, name="plane")(told)
        plane = layers.Reshape((side, side, 1), name="plane_map")(plane)
        x = layers.Concatenate(name="told_pictures")([x, plane])
    for number, width in enumerate(preset.discriminator, 1):
        x = _bounded(
            layers.Conv2D(width, KERNEL, strides=2, padding="same", name=f"down{number}"), preset
        )(x)
        x = layers.LeakyReLU(negative_slope=SLOPE, name=f"down{number}_relu")(x)
        if preset.dropout:
            x = layers.Dropout(preset.dropout, name=f"down{number}_dropout")(x)
    if preset.conditioning == "plane":
        x = layers.Flatten(name="flat")(x)
        logits = layers.Dense(1, name="logits")(x)
    else:
        view = _Sum(name="view")(x)
        # Keras casts what leaves a bounded layer to the type of what enters it: an embedding
        # would give whole numbers, so the class enters as a row of zeros and a one.
        told = layers.Dense(preset.discriminator[-1], use_bias=False, name="embedding")
        told = _bounded(told, preset)(_OneHot(classes, name="class_row")(numbers))
        own = _bounded(layers.Dense(1, name="logits"), preset)(view)
        logits = layers.Add(name="judged")([own, _Inner(name="projection")([view, told])])
    return keras.Model([pictures, numbers], logits, name="discriminator")


def _bounded(layer: keras.Layer, preset: Preset) -> keras.Layer:
    return (
        layers.SpectralNormalization(layer, name=f"{layer.name}_bounded")
        if (preset.spectral)
        else layer
    )


class _Sum(layers.Layer):  # type: ignore[misc]  # keras ships no types
    """Sum over all positions of a map."""

    def call(self, x: Any) -> Any:
        return ops.sum(x, axis=(1, 2))


class _OneHot(layers.Layer):  # type: ignore[misc]
    """A class number as a row of zeros and a one."""

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.classes = classes

    def call(self, numbers: Any) -> Any:
        return ops.one_hot(numbers, self.classes, dtype="float32")


class _Inner(layers.Layer):  # type: ignore[misc]
    """Inner product of two rows."""

    def call(self, pair: Any) -> Any:
        return ops.sum(pair[0] * pair[1], axis=-1, keepdims=True)
