"""ResNet50 with the published head, built flat and with its normalisation folded.

Only this module, `training` and `export` import Keras.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

STAGES = ((2, 64, 3), (3, 128, 4), (4, 256, 6), (5, 512, 3))
LAST_BLOCK = "conv5_block3_out"
HIDDEN = 256


def build_classifier(
    classes: int, *, hidden: int = HIDDEN, l2: float = 0.01, dropout: float = 0.5
) -> keras.Model:
    """ResNet50, global average pooling, flatten, Dense(256), dropout, Dense(classes).

    The batch normalisations are folded into the convolutions: they are frozen
    while fine-tuning in any case, which makes both networks the same function,
    and without them a step takes half as long.

    Parameters
    ----------
    classes : int
        Number of classes.
    hidden : int
        Width of the hidden layer.
    l2 : float
        Weight decay of the hidden layer's kernel.
    dropout : float
        Share dropped before the last layer.

    Returns
    -------
    network : keras.Model
        From (N, H, W, 3) float32, normalised, to logits (N, classes) float32.
        Layer names are those of `keras.applications`; H and W are free.

    References
    ----------
    .. [1] He et al. (2016), doi:10.1109/CVPR.2016.90
    """
    pixels = layers.Input((None, None, 3), name="pixels")
    x = layers.ZeroPadding2D(3, name="conv1_pad")(pixels)
    x = layers.Conv2D(64, 7, strides=2, name="conv1_conv")(x)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stage, filters, blocks in STAGES:
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and stage > 2 else 1
            x = _block(x, filters, stride, f"conv{stage}_block{block}", shortcut=block == 1)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    decay = keras.regularizers.L2(l2)
    x = layers.Dense(hidden, activation="relu", kernel_regularizer=decay, name="hidden")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(pixels, logits, name="resnet50")


def _block(x: Any, filters: int, stride: int, name: str, *, shortcut: bool) -> Any:
    kept = x
    if shortcut:
        kept = layers.Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(x)
    x = layers.Conv2D(filters, 1, strides=stride, name=f"{name}_1_conv")(x)
    x = layers.Activation("relu", name=f"{name}_1_relu")(x)
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_2_conv")(x)
    x = layers.Activation("relu", name=f"{name}_2_relu")(x)
    x = layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x)
    x = layers.Add(name=f"{name}_add")([kept, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def load_start_weights(network: keras.Model, source: str | Path) -> None:
    """Put ImageNet weights into a network, normalisation folded.

    Parameters
    ----------
    network : keras.Model
        As `build_classifier` made it; its head is left alone.
    source : str or Path
        ``imagenet`` for the weights of keras.applications (needs the network),
        or a weights file of ``keras.applications.ResNet50(include_top=False)``.
    """
    named = str(source) == "imagenet"
    reference = keras.applications.ResNet50(
        weights="imagenet" if named else None, include_top=False, input_shape=(224, 224, 3)
    )
    if not named:
        reference.load_weights(str(source))
    for layer in network.layers:
        if not layer.name.endswith("_conv"):
            continue
        kernel, bias = (np.asarray(w) for w in reference.get_layer(layer.name).get_weights())
        norm = reference.get_layer(layer.name.removesuffix("_conv") + "_bn")
        gamma, beta, mean, variance = (np.asarray(w) for w in norm.get_weights())
        gain = gamma / np.sqrt(variance + norm.epsilon)
        layer.set_weights([kernel * gain, (bias - mean) * gain + beta])
