"""Pictures that are no smear: what people upload by mistake, drawn from a seed.

They measure whether the network says that it does not know; none of them sets
a threshold.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

RGBImage = NDArray[np.uint8]
FloatImage = NDArray[np.float32]
Rng = np.random.Generator


def not_a_smear(kind: str, seed: int, size: int = 224) -> RGBImage:
    """Draw a picture of something else.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    seed : int
        The same seed gives the same picture.
    size : int
        Side, pixels.

    Returns
    -------
    pixels : (size, size, 3) ndarray of uint8
        RGB.

    Raises
    ------
    KeyError
        If there is no such kind.
    """
    rng = np.random.default_rng((seed, KINDS.index(kind)) if kind in KINDS else seed)
    return _finish(_DRAW[kind](rng, size))


def _finish(canvas: FloatImage) -> RGBImage:
    return np.clip(canvas, 0.0, 255.0).astype(np.uint8)


def _colour(rng: Rng, low: int = 0, high: int = 255) -> tuple[float, float, float]:
    red, green, blue = rng.integers(low, high + 1, 3).tolist()
    return float(red), float(green), float(blue)


def _flat(size: int, colour: tuple[float, float, float]) -> FloatImage:
    return np.full((size, size, 3), colour, np.float32)


def _clouds(rng: Rng, size: int, coarsest: int = 4) -> FloatImage:
    """Fractal noise with mean 0 and a range of about -1 to 1."""
    total = np.zeros((size, size), np.float32)
    cells, weight = coarsest, 1.0
    while cells < size:
        layer = rng.uniform(-1.0, 1.0, (cells, cells)).astype(np.float32)
        total += np.float32(weight) * cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC)
        cells, weight = cells * 2, weight * 0.5
    return total


def _grid(size: int) -> tuple[FloatImage, FloatImage]:
    """Rows and columns from 0 to 1."""
    axis = np.linspace(0.0, 1.0, size, dtype=np.float32)
    return np.broadcast_to(axis[:, None], (size, size)), np.broadcast_to(axis, (size, size))


def _ellipse(
    canvas: FloatImage,
    centre: tuple[float, float],
    axes: tuple[float, float],
    colour: tuple[float, float, float],
    *,
    angle: float = 0.0,
    thickness: int = -1,
) -> None:
    """Ellipse in shares of the side; centre and axes as (across, down)."""
    side = canvas.shape[0]
    cv2.ellipse(
        canvas,
        (round(centre[0] * side), round(centre[1] * side)),
        (max(1, round(axes[0] * side)), max(1, round(axes[1] * side))),
        angle, 0.0, 360.0, colour, thickness, cv2.LINE_AA,
    )  # fmt: skip


def _polygon(
    canvas: FloatImage, corners: list[tuple[float, float]], colour: tuple[float, float, float]
) -> None:
    points = np.round(np.array(corners) * canvas.shape[0]).astype(np.int32)
    cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA)


def _cat(rng: Rng, size: int) -> FloatImage:
    canvas = _flat(size, _colour(rng, 60, 220)) + 30.0 * _clouds(rng, size)[..., None]
    fur = _colour(rng, 40, 200)
    dark = (0.6 * fur[0], 0.6 * fur[1], 0.6 * fur[2])
    across, down = rng.uniform(0.42, 0.58, 2).tolist()
    head = float(rng.uniform(0.24, 0.32))
    for side in (-1.0, 1.0):
        tip = (across + side * 0.95 * head, down - 1.35 * head)
        base = (across + side * 0.95 * head, down - 0.3 * head)
        _polygon(canvas, [tip, base, (across + side * 0.2 * head, down - 0.85 * head)], fur)
    _ellipse(canvas, (across, down + 0.3), (1.1 * head, 0.9 * head), dark)
    _ellipse(canvas, (across, down), (head, 0.9 * head), fur)
    eyes = _colour(rng, 90, 230)
    for side in (-1.0, 1.0):
        eye = (across + side * 0.42 * head, down - 0.15 * head)
        _ellipse(canvas, eye, (0.2 * head, 0.17 * head), eyes)
        _ellipse(canvas, eye, (0.06 * head, 0.16 * head), (10.0, 10.0, 10.0))
        for rise in (-0.1, 0.05, 0.2):
            start = (across + side * 0.2 * head, down + 0.35 * head)
            end = (across + side * 1.2 * head, down + (0.3 + rise) * head)
            corners = [tuple(round(value * size) for value in point) for point in (start, end)]
            cv2.line(canvas, corners[0], corners[1], (240.0, 240.0, 240.0), 1, cv2.LINE_AA)
    _polygon(
        canvas,
        [(across - 0.1 * head, down + 0.2 * head), (across + 0.1 * head, down + 0.2 * head),
         (across, down + 0.34 * head)],
        (225.0, 130.0, 140.0),
    )  # fmt: skip
    hair = rng.normal(0.0, 14.0, (size, size, 1)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(canvas + hair, (0, 0), 0.8), np.float32)


def _landscape(rng: Rng, size: int) -> FloatImage:
    down, across = _grid(size)
    sky = np.array(_colour(rng, 120, 255), np.float32) * (0.6 + 0.5 * down)[..., None]
    canvas = sky + 25.0 * _clouds(rng, size)[..., None]
    for layer in range(3):
        ridge = 0.45 + 0.16 * layer + 0.12 * _clouds(rng, size, 3)[size // 2]
        colour = np.array(_colour(rng, 20, 160), np.float32) * (1.0 - 0.2 * layer)
        ground = colour + 22.0 * _clouds(rng, size, 16)[..., None]
        canvas = np.where((down > ridge[None, :])[..., None], ground, canvas)
    sun = np.exp(-(((across - rng.uniform()) ** 2 + (down - 0.2) ** 2) / 0.004))
    return np.asarray(canvas + 120.0 * sun[..., None], np.float32)


def _xray(rng: Rng, size: int) -> FloatImage:
    """A chest from the front: dark lungs, bright spine, heart and ribs."""
    plate = np.full((size, size), 150.0, np.float32)
    width = float(rng.uniform(0.13, 0.17))
    for side in (-1.0, 1.0):
        centre = (round((0.5 + side * 0.2) * size), round(0.47 * size))
        axes = (round(width * size), round(0.33 * size))
        cv2.ellipse(plate, centre, axes, side * 6.0, 0.0, 360.0, (45.0,), -1)
        for rib in range(8):
            at = (round((0.5 + side * 0.17) * size), round((0.2 + 0.075 * rib) * size))
            reach = (round(0.2 * size), round(0.07 * size))
            cv2.ellipse(plate, at, reach, side * 14.0, 180.0, 360.0, (105.0,), max(1, size // 90))
    cv2.ellipse(
        plate, (round(0.55 * size), round(0.62 * size)), (round(0.13 * size), round(0.16 * size)),
        25.0, 0.0, 360.0, (170.0,), -1,
    )  # fmt: skip
    cv2.rectangle(plate, (round(0.47 * size), 0), (round(0.53 * size), size), (195.0,), -1)
    plate = np.asarray(cv2.GaussianBlur(plate, (0, 0), 0.012 * size), np.float32)
    plate += 10.0 * _clouds(rng, size) + rng.normal(0.0, 3.0, (size, size)).astype(np.float32)
    plate *= np.float32(rng.uniform(0.8, 1.2))
    return np.repeat(plate[..., None], 3, axis=2)


def _noise(rng: Rng, size: int) -> FloatImage:
    spread = float(rng.uniform(30.0, 90.0))
    return rng.normal(128.0, spread, (size, size, 3)).astype(np.float32)


def _blank(rng: Rng, size: int) -> FloatImage:
    grain = rng.normal(0.0, 1.5, (size, size, 3)).astype(np.float32)
    return _flat(size, _colour(rng, 150, 255)) + grain


def _gradient(rng: Rng, size: int) -> FloatImage:
    down, across = _grid(size)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    slope = (np.cos(angle) * across + np.sin(angle) * down + 1.5)[..., None] / 3.0
    first, second = np.array(_colour(rng), np.float32), np.array(_colour(rng), np.float32)
    return np.asarray(first + (second - first) * slope, np.float32)


def _text(rng: Rng, size: int) -> FloatImage:
    canvas = _flat(size, _colour(rng, 235, 255)).astype(np.uint8)  # letters need 8 bits
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz     "))
    scale = float(rng.uniform(0.3, 0.6)) * size / 224
    line_px = max(4, round(30 * scale))
    for top in range(line_px, size, line_px):
        words = "".join(rng.choice(letters, 60))
        cv2.putText(
            canvas, words, (round(0.05 * size), top), cv2.FONT_HERSHEY_SIMPLEX, scale,
            (25, 25, 30), 1, cv2.LINE_AA,
        )  # fmt: skip
    return canvas.astype(np.float32)


def _checker(rng: Rng, size: int) -> FloatImage:
    tile = int(rng.integers(max(2, size // 28), max(3, size // 6)))
    index = np.arange(size) // tile
    odd = ((index[:, None] + index[None, :]) % 2 == 1)[..., None]
    light = np.array(_colour(rng, 128, 255), np.float32)
    return np.where(odd, np.array(_colour(rng, 0, 127), np.float32), light)


def _stripes(rng: Rng, size: int) -> FloatImage:
    down, across = _grid(size)
    angle = rng.uniform(0.0, np.pi)
    waves = np.sin(rng.uniform(20.0, 120.0) * (np.cos(angle) * across + np.sin(angle) * down))
    first, second = np.array(_colour(rng), np.float32), np.array(_colour(rng), np.float32)
    return np.asarray(first + (second - first) * (0.5 + 0.5 * waves)[..., None], np.float32)


def _drawing(rng: Rng, size: int) -> FloatImage:
    """Flat shapes with black outlines on paper."""
    canvas = _flat(size, (250.0, 248.0, 240.0))
    for _ in range(int(rng.integers(5, 12))):
        centre = (float(rng.uniform()), float(rng.uniform()))
        axes = (float(rng.uniform(0.04, 0.2)), float(rng.uniform(0.04, 0.2)))
        if rng.random() < 0.5:
            _ellipse(canvas, centre, axes, _colour(rng))
            _ellipse(canvas, centre, axes, (0.0, 0.0, 0.0), thickness=max(1, size // 110))
        else:
            corners = [tuple(np.add(centre, rng.uniform(-0.2, 0.2, 2)).tolist()) for _ in range(3)]
            _polygon(canvas, corners, _colour(rng))
    return canvas


def _night(rng: Rng, size: int) -> FloatImage:
    """Lights of a town in the dark."""
    canvas = _flat(size, (8.0, 9.0, 18.0)) + 6.0 * _clouds(rng, size)[..., None]
    for _ in range(int(rng.integers(30, 90))):
        at = (float(rng.uniform()), float(rng.uniform(0.35, 1.0)))
        spread = float(rng.uniform(0.004, 0.018))
        _ellipse(canvas, at, (spread, spread), _colour(rng, 150, 255))
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 1.2), np.float32)


def _tissue(rng: Rng, size: int) -> FloatImage:
    """A section in haematoxylin and eosin: pink fibres, small crowded nuclei, no smear."""
    threads = rng.normal(0.0, 1.0, (size, size)).astype(np.float32)
    smooth = cv2.GaussianBlur(threads, (0, 0), sigmaX=9.0, sigmaY=1.5)
    fibres = np.asarray(smooth, np.float32) / np.float32(max(1e-6, float(np.std(smooth))))
    angle = float(rng.uniform(0.0, 180.0))
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), angle, 1.5)
    laid = cv2.warpAffine(fibres, turn, (size, size), borderMode=cv2.BORDER_REFLECT)
    eosin = np.array((0.08, 0.55, 0.28), np.float32)
    density = np.clip(0.9 + 0.35 * np.asarray(laid, np.float32), 0.1, None)[..., None] * eosin
    nuclei = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(150, 260))):
        at = tuple(rng.integers(0, size, 2).tolist())
        axes = (max(1, round(0.02 * size)), max(1, round(0.009 * size)))
        cv2.ellipse(nuclei, at, axes, angle + rng.normal(0.0, 20.0), 0.0, 360.0, (1.0,), -1)
    soft = np.asarray(cv2.GaussianBlur(nuclei, (0, 0), 0.8), np.float32)
    density += soft[..., None] * np.array((0.75, 0.85, 0.35), np.float32)
    return np.asarray(248.0 * np.exp(-density), np.float32)


def _fabric(rng: Rng, size: int) -> FloatImage:
    down, across = _grid(size)
    threads = float(rng.uniform(60.0, 160.0))
    weave = np.sin(threads * across) * np.sin(threads * down)
    folds = 1.0 + 0.25 * _clouds(rng, size, 2)
    colour = np.array(_colour(rng, 40, 220), np.float32)
    return np.asarray(colour * (folds * (1.0 + 0.25 * weave))[..., None], np.float32)


_DRAW: dict[str, Callable[[Rng, int], FloatImage]] = {
    "cat": _cat,
    "landscape": _landscape,
    "xray": _xray,
    "noise": _noise,
    "blank": _blank,
    "gradient": _gradient,
    "text": _text,
    "checker": _checker,
    "stripes": _stripes,
    "drawing": _drawing,
    "night": _night,
    "tissue": _tissue,
    "fabric": _fabric,
}

KINDS = tuple(_DRAW)
