"""Good fields pass without a flag; each fault raises its own."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from utils.imaging import synthesis
from utils.imaging.nuclei import nucleus_mask
from utils.imaging.quality import Quality, assess

GOOD = synthesis.field(3, height=300, width=400, cells=9).pixels


def judge(pixels: np.ndarray) -> Quality:
    return assess(pixels, nucleus_mask(pixels))


def grey(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


FAULTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "defocused": (lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 4), "out_of_focus"),
    "moved": (lambda pixels: cv2.blur(pixels, (21, 1)), "out_of_focus"),
    "lamp too low": (lambda pixels: (pixels * 0.35).astype(np.uint8), "too_dark"),
    "lamp too high": (lambda pixels: np.minimum(pixels * 3.0, 255).astype(np.uint8), "too_bright"),
    "without colour": (grey, "no_stain"),
    "small": (lambda pixels: pixels[:100, :100].copy(), "too_small"),
    "empty": (lambda pixels: np.full_like(pixels, 246), "blank"),
    "black": (np.zeros_like, "too_dark"),
}


@pytest.mark.parametrize("stain", synthesis.STAINS)
@pytest.mark.parametrize("seed", range(4))
def test_good_fields_have_no_flag(stain: str, seed: int) -> None:
    assert judge(synthesis.field(seed, cells=8, stain=stain).pixels).flags == ()


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_flagged(name: str) -> None:
    spoil, flag = FAULTS[name]
    assert flag in judge(spoil(GOOD)).flags


@pytest.mark.parametrize("stain", synthesis.STAINS)
def test_a_field_of_red_cells_alone_says_so(stain: str) -> None:
    drawn = synthesis.field(3, cells=0, platelets=2, stain=stain)
    assert judge(drawn.pixels).flags == ("no_nucleated_cell",)


def test_a_blank_field_is_not_blamed_for_focus_or_stain() -> None:
    flags = judge(np.full((300, 300, 3), 235, np.uint8)).flags
    assert flags == ("blank", "no_nucleated_cell")


def test_focus_falls_as_blur_grows() -> None:
    sharpness = [
        judge(GOOD if blur == 0 else cv2.GaussianBlur(GOOD, (0, 0), blur)).focus
        for blur in (0, 1, 2, 4, 8)
    ]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] > 2 * sharpness[2]


def test_the_mask_may_have_any_resolution() -> None:
    mask = np.zeros((10, 20), np.bool_)
    mask[0, :4] = True
    assert assess(GOOD, mask).nucleated_share == pytest.approx(0.02)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_any_pixels_are_judged_and_left_alone(pixels: np.ndarray) -> None:
    before = pixels.copy()
    quality = assess(pixels, np.zeros(pixels.shape[:2], np.bool_))
    np.testing.assert_array_equal(pixels, before)
    assert 0.0 <= quality.focus <= 1.0
    assert 0.0 <= quality.brightness <= 255.0
    assert np.isfinite([quality.contrast, quality.saturation]).all()
    assert {"too_small", "no_nucleated_cell"} <= set(quality.flags)
