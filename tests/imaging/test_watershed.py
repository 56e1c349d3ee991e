"""Counting nucleated cells: synthetic fields whose truth is known exactly."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from utils.imaging import synthesis
from utils.imaging.nuclei import nucleus_map, nucleus_mask
from utils.imaging.scale import cell_radius_px, distance_map
from utils.imaging.watershed import Segmentation, full_size_labels, segment

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "90": np.rot90,
    "180": lambda pixels: np.rot90(pixels, 2),
    "270": lambda pixels: np.rot90(pixels, 3),
    "mirrored": np.fliplr,
    "upside down": np.flipud,
}


def check(found: Segmentation, shape: tuple[int, ...]) -> None:
    """What holds for any image."""
    height, width = shape[:2]
    assert found.labels.dtype == np.int32
    assert found.labels.ndim == 2
    np.testing.assert_array_equal(
        np.unique(found.labels[found.labels > 0]), 1 + np.arange(found.count)
    )
    assert [nucleus.label for nucleus in found.nuclei] == list(range(1, found.count + 1))
    for nucleus in found.nuclei:
        top, left, bottom, right = nucleus.box
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        assert top - 1 <= nucleus.centroid_row_px <= bottom
        assert left - 1 <= nucleus.centroid_col_px <= right
        area = np.count_nonzero(found.labels == nucleus.label)
        assert nucleus.area_px == pytest.approx(area / found.scale**2)


@pytest.mark.parametrize("stain", synthesis.STAINS)
@pytest.mark.parametrize("touching_share", [0.0, 0.3, 0.6])
def test_counts_are_those_of_the_truth(stain: str, touching_share: float) -> None:
    errors = []
    for seed in range(12):
        drawn = synthesis.field(seed, cells=2 * seed, touching_share=touching_share, stain=stain)
        found = segment(drawn.pixels)
        check(found, drawn.pixels.shape)
        errors.append(abs(found.count - drawn.count))
    assert sum(errors) <= 1


@pytest.mark.parametrize("stain", synthesis.STAINS)
def test_outlines_lie_on_the_nuclei(stain: str) -> None:
    drawn = synthesis.field(5, cells=12, stain=stain)
    found = segment(drawn.pixels).labels > 0
    truth = drawn.labels > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.85


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("seed", [3, 4])
def test_turning_a_field_changes_no_count(name: str, seed: int) -> None:
    drawn = synthesis.field(seed, cells=14, touching_share=0.5)
    turned = np.ascontiguousarray(TURNS[name](drawn.pixels))
    assert segment(turned).count == segment(drawn.pixels).count == drawn.count


@pytest.mark.parametrize("magnified", [0.75, 2.0, 4.0])
def test_magnification_changes_no_count(magnified: float) -> None:
    drawn = synthesis.field(8, height=256, width=320, cells=14, touching_share=0.4)
    larger = cv2.resize(
        drawn.pixels, None, fx=magnified, fy=magnified, interpolation=cv2.INTER_AREA
    )
    assert segment(larger).count == drawn.count


@pytest.mark.parametrize("stain", synthesis.STAINS)
def test_red_cells_and_platelets_are_no_nucleated_cells(stain: str) -> None:
    for seed in range(6):
        drawn = synthesis.field(seed, cells=0, platelets=25, stain=stain)
        assert segment(drawn.pixels).count == 0


def test_plain_grey_counts_the_red_cells() -> None:
    """The control: why the chain looks at the nucleus map."""
    drawn = synthesis.field(2, cells=6, stain="blue")
    grey = cv2.cvtColor(drawn.pixels, cv2.COLOR_RGB2GRAY)
    _, dark = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    assert cv2.connectedComponents(dark)[0] - 1 > 3 * drawn.count
    assert segment(drawn.pixels).count == drawn.count


def test_the_lobes_of_a_segmented_nucleus_are_one_cell() -> None:
    drawn = synthesis.field(21, height=320, width=320, cells=0, red_cell_radius_px=16)
    pixels = drawn.pixels.copy()
    cv2.circle(pixels, (160, 160), 34, (225, 190, 225), -1, cv2.LINE_AA)
    for across, down in ((149, 152), (171, 152), (160, 172)):
        cv2.circle(pixels, (across, down), 10, (90, 50, 150), -1, cv2.LINE_AA)
    assert segment(pixels).count == 1


NOTHING = {
    "one pixel": np.zeros((1, 1, 3)),
    "one white pixel": np.full((1, 1, 3), 255),
    "a line": np.zeros((1, 300, 3)),
    "black": np.zeros((64, 64, 3)),
    "white": np.full((64, 64, 3), 255),
    "violet all over": np.full((200, 150, 3), (110, 60, 170)),
    "a ramp": np.repeat(np.linspace(0, 255, 256)[None, :, None], 256, 0).repeat(3, 2),
    "grey noise": np.random.default_rng(1).normal(190, 20, (300, 300, 1)).clip(0, 255).repeat(3, 2),
    "noise": np.random.default_rng(0).integers(0, 256, (224, 224, 3)),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_is_found_where_there_is_nothing(name: str) -> None:
    pixels = NOTHING[name].astype(np.uint8)
    found = segment(pixels)
    assert found.count == 0
    assert found.labels.shape == pixels.shape[:2]
    assert not found.labels.any()


@pytest.mark.parametrize("kind", ["cat", "blank", "text", "xray", "checker", "night"])
def test_other_pictures_hold_no_cells(kind: str) -> None:
    assert sum(segment(synthesis.not_a_smear(kind, seed)).count for seed in range(4)) <= 1


def test_cells_cut_by_the_border_are_marked() -> None:
    drawn = synthesis.field(9, cells=1)
    row, col = (int(at) for at in np.argwhere(drawn.labels == 1).mean(axis=0))
    whole, cut = segment(drawn.pixels), segment(np.ascontiguousarray(drawn.pixels[row:]))
    assert [nucleus.touches_border for nucleus in whole.nuclei] == [False]
    assert [nucleus.touches_border for nucleus in cut.nuclei] == [True]
    assert cut.nuclei[0].area_px == pytest.approx(whole.nuclei[0].area_px / 2, rel=0.15)
    assert abs(whole.nuclei[0].centroid_row_px - row) < 1.5
    assert abs(whole.nuclei[0].centroid_col_px - col) < 1.5


def test_large_fields_are_worked_on_smaller_and_mapped_back() -> None:
    drawn = synthesis.field(6, height=600, width=800, cells=12)
    full, capped = segment(drawn.pixels), segment(drawn.pixels, working_pixels=100_000)
    assert full.scale == 1.0
    assert capped.labels.size <= 101_000
    assert capped.scale == pytest.approx((100_000 / 480_000) ** 0.5)
    assert capped.count == full.count == drawn.count
    check(capped, drawn.pixels.shape)
    for one, other in zip(capped.nuclei, full.nuclei, strict=True):
        nearest = min(
            np.hypot(
                one.centroid_row_px - near.centroid_row_px,
                one.centroid_col_px - near.centroid_col_px,
            )
            for near in full.nuclei
        )
        assert nearest < 3.0
        assert other.area_px > 0
    labels = full_size_labels(capped, (600, 800))
    assert labels.shape == (600, 800)
    overlap = (labels > 0) & (drawn.labels > 0)
    assert overlap.sum() / (drawn.labels > 0).sum() > 0.85


def test_the_least_distance_can_be_given() -> None:
    drawn = synthesis.field(3, cells=14, touching_share=0.6)
    assert segment(drawn.pixels, least_distance_px=60).count < drawn.count
    assert segment(drawn.pixels, least_distance_px=8).count == drawn.count


def test_full_size_labels_do_not_share_memory() -> None:
    found = segment(synthesis.field(1).pixels)
    labels = full_size_labels(found, found.labels.shape)
    assert not np.shares_memory(labels, found.labels)


def test_the_map_is_blind_to_the_lamps_colour() -> None:
    drawn = synthesis.field(4, stain="classic")
    tinted = (drawn.pixels * np.array([1.0, 0.92, 0.8])).astype(np.uint8)
    plain, other = nucleus_mask(drawn.pixels), nucleus_mask(tinted)
    assert (plain & other).sum() / (plain | other).sum() > 0.95


def test_a_grey_image_has_no_nucleus_map() -> None:
    grey = cv2.cvtColor(synthesis.field(4).pixels, cv2.COLOR_RGB2GRAY)
    level = nucleus_map(np.repeat(grey[..., None], 3, axis=2))
    assert level.dtype == np.float32
    assert level.max() < 20


def test_small_cells_in_a_wide_field_are_found() -> None:
    drawn = synthesis.field(
        4, height=900, width=1200, cells=30, touching_share=0.2, red_cell_radius_px=9
    )
    assert cell_radius_px(drawn.pixels) == pytest.approx(9, rel=0.3)
    assert abs(segment(drawn.pixels).count - drawn.count) <= 1


@pytest.mark.parametrize("radius", [6.0, 9.0, 20.0, 45.0])
def test_the_fields_own_cells_give_the_scale(radius: float) -> None:
    drawn = synthesis.field(
        2, height=int(28 * radius), width=int(36 * radius), cells=3, red_cell_radius_px=radius
    )
    assert cell_radius_px(drawn.pixels) == pytest.approx(radius, rel=0.3)


def test_distance_without_background_is_finite() -> None:
    assert distance_map(np.ones((5, 9), np.uint8)).max() == 9.0
    assert distance_map(np.zeros((5, 9), np.uint8)).max() == 0.0


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
    st.integers(1, 3_000),
)
def test_any_pixels_give_consecutive_labels(pixels: np.ndarray, working_pixels: int) -> None:
    before = pixels.copy()
    found = segment(pixels, working_pixels=working_pixels)
    np.testing.assert_array_equal(pixels, before)
    check(found, pixels.shape)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 20), st.sampled_from(sorted(synthesis.STAINS)))
def test_fields_of_any_seed_are_counted_and_left_alone(seed: int, cells: int, stain: str) -> None:
    drawn = synthesis.field(seed, cells=cells, stain=stain)
    before = drawn.pixels.copy()
    found = segment(drawn.pixels)
    np.testing.assert_array_equal(drawn.pixels, before)
    check(found, drawn.pixels.shape)
    assert abs(found.count - drawn.count) <= 2
