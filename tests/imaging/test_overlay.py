"""Heatmaps, outlines and the share of the heat on cells."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from utils.imaging import overlay, synthesis
from utils.imaging.watershed import Segmentation, segment

FIELD = synthesis.field(12, height=256, width=320, cells=10, touching_share=0.4)
FOUND = segment(FIELD.pixels)
NOTHING = segment(np.full((256, 320, 3), 250, np.uint8))


def bump(row: int, col: int) -> np.ndarray:
    cam = np.zeros((7, 7), np.float32)
    cam[row, col] = 2.0
    return cam


@pytest.mark.parametrize("name", ["jet", "viridis", "cividis"])
def test_colour_maps_are_the_known_ones(name: str) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    table = overlay.colour_map(name)
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert not table.flags.writeable
    known = matplotlib.colormaps[name](np.arange(256))[:, :3] * 255
    # matplotlib's jet bends its ramps a little; the published one is straight.
    assert np.abs(table - known).max() <= {"jet": 34, "viridis": 1.5, "cividis": 4.5}[name]


@pytest.mark.parametrize("name", ["viridis", "cividis"])
def test_even_maps_grow_lighter_all_the_way(name: str) -> None:
    table = overlay.colour_map(name)[None]
    lightness = cv2.cvtColor(table.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0, :, 0]
    assert (np.diff(lightness[::5]) > 0).all()


def test_unknown_colour_maps_are_refused() -> None:
    with pytest.raises(KeyError):
        overlay.colour_map("rainbow")


def test_heat_stands_where_the_map_is_and_on_the_shared_scale() -> None:
    cam = bump(1, 5)
    before = cam.copy()
    full = overlay.heatmap_rgba(cam, ceiling=2.0, shape=(147, 217), colour_map="viridis")
    half = overlay.heatmap_rgba(cam, ceiling=4.0, shape=(147, 217), colour_map="viridis")
    np.testing.assert_array_equal(cam, before)
    assert full.shape == (147, 217, 4)
    assert full.dtype == np.uint8
    table = overlay.colour_map("viridis")
    np.testing.assert_array_equal(full[31, 170, :3], table[255])
    assert np.abs(half[31, 170, :3].astype(int) - table[128]).max() <= 3
    np.testing.assert_array_equal(full[130, 10, :3], table[0])
    assert (full[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("cam", "ceiling"),
    [
        (np.zeros((7, 7), np.float32), 1.0),
        (bump(3, 3), 0.0),
        (bump(3, 3), math.nan),
        (np.full((7, 7), np.nan, np.float32), 1.0),
    ],
)
def test_no_evidence_is_transparent(cam: np.ndarray, ceiling: float) -> None:
    assert not overlay.heatmap_rgba(cam, ceiling=ceiling, shape=(30, 40)).any()


def test_blending_keeps_what_no_layer_covers() -> None:
    layer = np.zeros((*FIELD.pixels.shape[:2], 4), np.uint8)
    layer[:100] = (255, 0, 0, 255)
    blended = overlay.blend(FIELD.pixels, layer, 0.4)
    np.testing.assert_array_equal(blended[100:], FIELD.pixels[100:])
    wanted = FIELD.pixels[:100] * 0.6 + np.array([255, 0, 0]) * 0.4
    np.testing.assert_allclose(blended[:100], wanted, atol=1)
    whole = overlay.heatmap_rgba(bump(2, 2), ceiling=2.0, shape=FIELD.pixels.shape[:2])
    assert overlay.blend(FIELD.pixels, whole, 0.0).tolist() == FIELD.pixels.tolist()


def test_boundaries_are_red_lines_around_each_cell() -> None:
    lines = overlay.boundaries_rgba(FOUND, FIELD.pixels.shape[:2])
    drawn = lines[..., 3] > 0
    assert (lines[drawn] == (*overlay.BOUNDARY_RED, 255)).all()
    assert not lines[~drawn].any()
    for nucleus in FOUND.nuclei:
        mask = FOUND.labels == nucleus.label
        assert drawn[mask].any()
        core = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert not drawn[core].any()


def test_boundaries_fit_a_field_that_was_worked_on_smaller() -> None:
    small = segment(FIELD.pixels, working_pixels=30_000)
    assert small.scale < 1
    lines = overlay.boundaries_rgba(small, FIELD.pixels.shape[:2])
    assert lines.shape[:2] == FIELD.pixels.shape[:2]
    assert lines[..., 3].any()


@pytest.mark.parametrize("working_pixels", [3_000_000, 40_000])
def test_outlines_are_compact_and_cover_the_cells(working_pixels: int) -> None:
    found = segment(FIELD.pixels, working_pixels=working_pixels)
    polygons = overlay.outlines(found)
    assert len(polygons) == found.count > 0
    for polygon, nucleus in zip(polygons, found.nuclei, strict=True):
        assert 3 <= len(polygon) <= 40
        assert all(type(value) is int for corner in polygon for value in corner)
        canvas = np.zeros(FIELD.pixels.shape[:2], np.uint8)
        cv2.fillPoly(canvas, [np.array(polygon, np.int32)], 1)
        assert canvas.sum() == pytest.approx(nucleus.area_px, rel=0.2)
        rows, cols = np.nonzero(canvas)
        assert abs(rows.mean() - nucleus.centroid_row_px) < 2
        assert abs(cols.mean() - nucleus.centroid_col_px) < 2


def test_no_cells_no_outlines() -> None:
    assert overlay.outlines(NOTHING) == []
    assert not overlay.boundaries_rgba(NOTHING, (256, 320)).any()


def one_cell(row: int, col: int) -> Segmentation:
    """A cell of 2 x 2 map cells in a field of 7 x 7 of them."""
    labels = np.zeros((224, 224), np.int32)
    labels[32 * row : 32 * row + 64, 32 * col : 32 * col + 64] = 1
    return Segmentation(labels, 1.0, ())


def test_heat_on_a_cell_counts_and_heat_elsewhere_does_not() -> None:
    on = overlay.measure_heat(bump(2, 2) + bump(3, 3), one_cell(2, 2))
    off = overlay.measure_heat(bump(6, 6), one_cell(1, 1))
    assert on is not None
    assert off is not None
    assert on.share > 0.7
    assert off.share < 0.02
    assert on.enrichment > 5
    assert on.area_share == pytest.approx((76 / 224) ** 2, rel=0.05)


def test_even_heat_lies_on_cells_as_often_as_chance_says() -> None:
    heat = overlay.measure_heat(np.ones((7, 7), np.float32), FOUND)
    assert heat is not None
    assert heat.share == pytest.approx(heat.area_share, abs=1e-6)
    assert heat.enrichment == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("value", [0.0, np.nan, -1.0])
def test_an_empty_map_has_no_share(value: float) -> None:
    cam = np.full((7, 7), value, np.float32)
    assert overlay.measure_heat(cam, FOUND) is None


def test_without_cells_nothing_lies_on_them() -> None:
    heat = overlay.measure_heat(bump(1, 1), NOTHING)
    assert heat is not None
    assert (heat.share, heat.area_share) == (0.0, 0.0)
    assert math.isnan(heat.enrichment)


def share_of(cam: np.ndarray) -> float | None:
    heat = overlay.measure_heat(cam, FOUND)
    return None if heat is None else heat.share


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (7, 7), elements=st.floats(0, 2.0**127, width=32)),
    st.floats(1e-6, 1e6),
)
def test_shares_stay_between_0_and_1_and_ignore_the_scale(cam: np.ndarray, factor: float) -> None:
    before = cam.copy()
    share = share_of(cam)
    np.testing.assert_array_equal(cam, before)
    assert (share is None) == (not cam.any())
    assert share is None or 0.0 <= share <= 1.0
    scaled = (cam.astype(np.float64) / 1e33 * factor).astype(np.float32)
    if cam.max() > 0 and scaled[cam > 0].min(initial=1.0) > 1e-30:
        assert share_of(scaled) == pytest.approx(share, rel=1e-3, abs=1e-6)
