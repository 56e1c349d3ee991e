"""From pixels to what the network sees."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from utils.imaging import synthesis
from utils.imaging.preprocess import (
    PreprocessSpec,
    apply_clahe,
    hide_scale_bar,
    prepare,
    resize_square,
)

FIELD = synthesis.field(2, height=256, width=320, cells=8).pixels


def hue(pixels: np.ndarray) -> np.ndarray:
    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab[..., 1:]


def test_equalisation_changes_lightness_and_leaves_colour() -> None:
    before = FIELD.copy()
    equal = apply_clahe(FIELD)
    np.testing.assert_array_equal(FIELD, before)
    assert equal.shape == FIELD.shape
    assert equal.dtype == np.uint8
    shift = np.abs(hue(equal) - hue(FIELD))
    assert np.median(shift) < 2.0
    assert np.abs(equal.astype(int) - FIELD).mean() > 2.0


@pytest.mark.parametrize("style", ["none", "black", "white", "red"])
def test_no_trace_of_a_scale_bar_remains(style: str) -> None:
    pixels = FIELD.copy()
    colours = {"black": (0, 0, 0), "white": (255, 255, 255), "red": (200, 0, 0)}
    if style != "none":
        pixels[-28:-6, -52:-6] = colours[style]
    np.testing.assert_array_equal(hide_scale_bar(pixels), hide_scale_bar(FIELD))


def test_the_cover_reaches_the_corner_and_nothing_else() -> None:
    covered = hide_scale_bar(FIELD)
    changed = (covered != FIELD).any(axis=2)
    assert not changed[: 256 - 36].any()
    assert not changed[:, : 320 - 64].any()
    corner = covered[256 - 36 :, 320 - 64 :]
    assert (corner == corner[0, 0]).all()


@pytest.mark.parametrize("shape", [(224, 224), (100, 300), (768, 1024), (33, 40)])
def test_the_network_sees_one_size(shape: tuple[int, int]) -> None:
    pixels = cv2.resize(FIELD, shape[::-1])
    prepared = prepare(pixels, PreprocessSpec())
    assert prepared.network_input.shape == (224, 224, 3)
    assert prepared.network_input.dtype == np.uint8
    assert prepared.clahe.shape == (*shape, 3)


def test_shrinking_averages_and_does_not_skip_pixels() -> None:
    checker = np.indices((896, 896)).sum(axis=0) % 2 * 255
    small = resize_square(np.repeat(checker[..., None], 3, axis=2).astype(np.uint8), 224)
    assert small.min() >= 120
    assert small.max() <= 135


def test_the_bar_is_left_where_the_manifest_says_so() -> None:
    pixels = FIELD.copy()
    pixels[-28:-6, -52:-6] = 0
    shown = prepare(pixels, PreprocessSpec(hide_scale_bar=False)).network_input
    hidden = prepare(pixels, PreprocessSpec()).network_input
    assert shown[-15, -20].max() < 60 < hidden[-15, -20].min()


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 50), st.integers(1, 50), st.just(3))))
def test_any_pixels_are_prepared_and_left_alone(pixels: np.ndarray) -> None:
    before = pixels.copy()
    prepared = prepare(pixels, PreprocessSpec(input_px=32))
    np.testing.assert_array_equal(pixels, before)
    assert prepared.network_input.shape == (32, 32, 3)
