"""Cells outlined in fields and in tiles: bodies, nuclei, lobes, and what must not matter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from utils.imaging import synthesis
from utils.imaging.cells import find_cells, join_parts, outline_found
from utils.imaging.counterfactual import scale_densities
from utils.imaging.crop import anchor_stain, balance_white, cut_square
from utils.imaging.nuclei import white_point
from utils.imaging.outline import CellOutline, fill_holes, nucleus_in
from utils.imaging.preprocess import PreprocessSpec, cut_cell, place_of
from utils.imaging.tile import outline_middle_cell
from utils.imaging.watershed import segment

GLASS, CYTOPLASM, NUCLEUS, RED = (238, 234, 240), (184, 164, 214), (104, 56, 148), (226, 176, 168)
# Row, column and radius of a cell, and its two lobes.
SEGMENTED = (
    240.0,
    320.0,
    70.0,
    [(-34.0, -14.0, 26.0), (34.0, -14.0, 26.0)],
)
TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "90": np.rot90,
    "mirrored": np.fliplr,
    "upside down": np.flipud,
}


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.count_nonzero(one & other) / (one.sum() + other.sum()))


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(rows - centre[0], cols - centre[1]) <= radius)


def drawn_tile(
    side: int = 160, cell: float = 44.0, nucleus: float = 29.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A cell with an eccentric nucleus in the middle of a tile, and its truth."""
    shape = (side, side)
    body = disc(shape, (side / 2, side / 2), cell)
    core = disc(shape, (side / 2 + 4, side / 2 - 7), nucleus)
    pixels = np.full((*shape, 3), GLASS, np.uint8)
    pixels[body], pixels[core] = CYTOPLASM, NUCLEUS
    noise = np.random.default_rng(3).normal(0, 2.5, pixels.shape)
    blurred = cv2.GaussianBlur(pixels, (0, 0), 1.0)
    return np.clip(blurred + noise, 0, 255).astype(np.uint8), body, core


def drawn_field(*cells: tuple[float, float, float, list[tuple[float, float, float]]]) -> np.ndarray:
    """A field of 480 x 640 with red cells all over and white cells: row, column, radius, lobes."""
    rng = np.random.default_rng(1)
    pixels = np.full((480, 640, 3), GLASS, np.uint8)
    for row in range(30, 480, 90):
        for col in range(35, 640, 95):
            if all(math.hypot(row - r, col - c) > 42 + radius for r, c, radius, _ in cells):
                cv2.circle(pixels, (col, row), 36, RED, -1, cv2.LINE_AA)
    for row, col, radius, lobes in cells:
        cv2.circle(pixels, (round(col), round(row)), round(radius), CYTOPLASM, -1, cv2.LINE_AA)
        for down, right, size in lobes:
            place = (round(col + right), round(row + down))
            cv2.circle(pixels, place, round(size), NUCLEUS, -1, cv2.LINE_AA)
    noise = rng.normal(0, 2.5, pixels.shape)
    return np.clip(cv2.GaussianBlur(pixels, (0, 0), 1.2) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [120, 160, 250, 400])
def test_a_tile_is_outlined_at_any_magnification(side: int) -> None:
    pixels, body, core = drawn_tile(side, cell=side * 0.27, nucleus=side * 0.18)
    outline = outline_middle_cell(pixels)
    assert outline is not None
    shape = (side, side)
    assert dice(outline.place(outline.cell, shape), body) > 0.95
    assert dice(outline.place(outline.nucleus, shape), core) > 0.95
    assert outline.nc_ratio == pytest.approx(core.sum() / body.sum(), abs=0.07)
    assert outline.diameter_px == pytest.approx(2 * side * 0.27, rel=0.05)
    assert outline.centre_px == pytest.approx((side / 2, side / 2), abs=0.02 * side)


@pytest.mark.parametrize("name", TURNS)
def test_turning_a_tile_turns_its_outline(name: str) -> None:
    pixels, _, _ = drawn_tile()
    upright = outline_middle_cell(pixels)
    turned = outline_middle_cell(np.ascontiguousarray(TURNS[name](pixels)))
    assert upright is not None
    assert turned is not None
    assert turned.cell_area_px == pytest.approx(upright.cell_area_px, rel=0.03)
    assert turned.nc_ratio == pytest.approx(upright.nc_ratio, abs=0.03)


def test_a_neighbour_does_not_come_along() -> None:
    pixels, body, _ = drawn_tile(200, cell=44, nucleus=30)
    pixels[disc((200, 200), (100, 2), 46)] = CYTOPLASM
    pixels[disc((200, 200), (100, 2), 33)] = NUCLEUS
    outline = outline_middle_cell(pixels)
    assert outline is not None
    assert dice(outline.place(outline.cell, (200, 200)), body) > 0.9


@pytest.mark.parametrize("shape", [(160, 160), (4, 4), (1, 300)])
def test_an_empty_tile_has_no_cell(shape: tuple[int, int]) -> None:
    assert outline_middle_cell(np.full((*shape, 3), GLASS, np.uint8)) is None


def test_a_tile_is_told_from_a_field() -> None:
    tile, _, _ = drawn_tile()
    assert find_cells(tile).single_cell
    assert find_cells(tile).segmentation.count == 1
    for seed in range(4):
        drawn = synthesis.field(seed, cells=6 + 4 * seed, touching_share=0.2)
        assert not find_cells(drawn.pixels).single_cell


def test_bodies_and_nuclei_of_a_field() -> None:
    pixels = drawn_field((240, 320, 60, [(0, 5, 40)]), (120, 140, 55, [(4, -6, 36)]))
    found = find_cells(pixels)
    outlines = outline_found(pixels, found)
    assert found.segmentation.count == len(outlines) == 2
    by_column = sorted(outlines, key=lambda outline: outline.centre_px[1])
    for outline, (row, col, cell, nucleus) in zip(
        by_column, [(120, 140, 55, 36), (240, 320, 60, 40)], strict=True
    ):
        body = disc((480, 640), (row, col), cell)
        assert dice(outline.place(outline.cell, (480, 640)), body) > 0.9
        assert outline.nc_ratio == pytest.approx(nucleus**2 / cell**2, abs=0.06)
        top, left, bottom, right = outline.box
        assert top < row < bottom
        assert left < col < right


def test_the_lobes_of_one_cell_are_one_and_two_cells_are_two() -> None:
    pixels = drawn_field(SEGMENTED)
    assert segment(pixels).count > 1  # else this would show nothing
    assert find_cells(pixels).segmentation.count == 1
    touching = drawn_field((240, 270, 44, [(0, 0, 37)]), (240, 362, 44, [(0, 0, 37)]))
    assert find_cells(touching).segmentation.count == 2


def test_joining_leaves_its_input_alone() -> None:
    pixels = drawn_field(SEGMENTED)
    before = segment(pixels)
    labels, picture = before.labels.copy(), pixels.copy()
    joined = join_parts(pixels, before)
    assert joined.count < before.count
    np.testing.assert_array_equal(before.labels, labels)
    np.testing.assert_array_equal(pixels, picture)


@pytest.mark.parametrize("stain", synthesis.STAINS)
def test_counts_of_many_touching_cells_stay_within_two_percent(stain: str) -> None:
    wanted = found = 0
    for seed, cells in enumerate((40, 80, 120, 160, 200)):
        drawn = synthesis.field(
            seed,
            height=1400,
            width=1400,
            cells=cells,
            touching_share=0.2,
            red_cell_radius_px=14.0,
            stain=stain,
        )
        assert drawn.count == cells
        wanted += drawn.count
        count = find_cells(drawn.pixels).segmentation.count
        found += count
        assert abs(count - drawn.count) <= max(1, 0.02 * drawn.count)
    assert abs(found - wanted) <= 0.01 * wanted


def test_turns_and_an_added_border_leave_the_count() -> None:
    drawn = synthesis.field(7, cells=30, touching_share=0.2)
    count = find_cells(drawn.pixels).segmentation.count
    for turn in TURNS.values():
        assert find_cells(np.ascontiguousarray(turn(drawn.pixels))).segmentation.count == count
    median = [int(v) for v in np.median(drawn.pixels.reshape(-1, 3), axis=0)]
    wider = cv2.copyMakeBorder(drawn.pixels, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=median)
    assert find_cells(np.asarray(wider, np.uint8)).segmentation.count == count


def test_pale_cytoplasm_belongs_to_the_cell_of_dark_lobes() -> None:
    """A segmented neutrophil: two dark lobes in a body that is hardly stained."""
    shape = (200, 200)
    body = disc(shape, (100, 100), 52)
    pixels = np.full((*shape, 3), (238, 236, 240), np.uint8)
    pixels[body] = (214, 200, 222)
    for centre in ((84, 92), (120, 108)):
        pixels[disc(shape, centre, 17)] = (70, 25, 110)
    # A dark neighbour at the edge sets no threshold for the cell in the middle.
    pixels[disc(shape, (20, 185), 40)] = (60, 20, 100)
    noise = np.random.default_rng(4).normal(0, 2.5, pixels.shape)
    pixels = np.clip(cv2.GaussianBlur(pixels, (0, 0), 1.0) + noise, 0, 255).astype(np.uint8)
    outline = outline_middle_cell(pixels)
    assert outline is not None
    assert dice(outline.place(outline.cell, shape), body) > 0.93


REFERENCE = (1.06, 2.01, 0.31)
AT_ITS_SCALE = PreprocessSpec(input_px=96, cell_context=1.5)


def test_the_nucleus_anchors_the_stain() -> None:
    """Another stain, light or camera scales the densities of each channel: no crop shows it."""
    pixels, _, _ = drawn_tile(200, cell=50, nucleus=32)
    outline = outline_middle_cell(pixels)
    assert outline is not None
    anchored = replace(AT_ITS_SCALE, nucleus_density=REFERENCE)
    crops = []
    for factors in ((1.0, 1.0, 1.0), (1.3, 0.8, 1.2), (0.75, 0.9, 1.25)):
        other = scale_densities(pixels, np.array(factors, np.float32))
        crops.append(
            cut_cell(other, place_of(outline), white_point(other), anchored).astype(np.int16)
        )
    for crop in crops[1:]:
        assert np.abs(crop - crops[0]).mean() < 3.0
    # The nucleus has the reference's colour, and the glass is still glass.
    middle = np.log(244.0 / (crops[0][40:56, 40:56].astype(np.float64) + 4.0)).mean(axis=(0, 1))
    assert middle == pytest.approx(REFERENCE, rel=0.15)
    assert crops[0][2:6, 2:6].mean() > 230


def test_without_a_nucleus_the_stain_stays() -> None:
    pixels, _, _ = drawn_tile()
    assert np.array_equal(anchor_stain(pixels, [], REFERENCE), pixels)
    outside = [[[-50.0, -50.0], [-40.0, -50.0], [-45.0, -40.0]]]
    assert np.array_equal(anchor_stain(pixels, outside, REFERENCE), pixels)


def test_a_crop_shows_the_cell_at_its_own_scale() -> None:
    crops = []
    for factor in (0.5, 1.0, 2.0):
        pixels, _, _ = drawn_tile(round(200 * factor), cell=50 * factor, nucleus=32 * factor)
        outline = outline_middle_cell(pixels)
        assert outline is not None
        crops.append(cut_cell(pixels, place_of(outline), None, AT_ITS_SCALE).astype(np.int16))
    assert all(crop.shape == (96, 96, 3) for crop in crops)
    for other in (crops[0], crops[2]):
        assert np.abs(other - crops[1]).mean() < 8.0


def test_the_background_is_balanced_whatever_the_light() -> None:
    pixels, _, _ = drawn_tile()
    yellow = np.clip(pixels * np.array([1.0, 0.97, 0.6]), 0, 255).astype(np.uint8)
    one, other = (balance_white(p, white_point(p)).astype(np.int16) for p in (pixels, yellow))
    assert np.abs(one - other).mean() < 4.0


def test_a_crop_at_the_edge_goes_on_as_glass() -> None:
    pixels, _, _ = drawn_tile()
    crop = cut_square(pixels, (0.0, 0.0), 80.0, side_px=40)
    assert (crop[:15, :15] == 240).all()
    assert crop[25:, 25:].std() > 0


def test_a_nucleus_is_never_empty_and_lies_in_its_cell() -> None:
    body = disc((60, 60), (30, 30), 20)
    flat = np.full((60, 60), 0.3, np.float32)
    np.testing.assert_array_equal(nucleus_in(body, flat), body)
    flat[disc((60, 60), (28, 30), 11)] = 0.9
    flat[0, 0] = 2.0
    nucleus = nucleus_in(body, flat)
    assert nucleus.any()
    assert not (nucleus & ~body).any()
    assert not nucleus_in(np.zeros((9, 9), bool), np.zeros((9, 9), np.float32)).any()


def test_only_enclosed_holes_are_filled() -> None:
    ring = disc((40, 40), (20, 20), 12) & ~disc((40, 40), (20, 20), 5)
    assert fill_holes(ring)[20, 20]
    assert not fill_holes(ring, largest_px=3)[20, 20]
    cut = ring.copy()
    cut[20:, 19:22] = False
    assert not fill_holes(cut)[20, 20]


def test_sizes_are_told_in_pixels_of_the_original() -> None:
    cell, nucleus = disc((50, 50), (25, 25), 20), disc((50, 50), (25, 25), 10)
    outline = CellOutline(100.0, 200.0, 0.5, cell, nucleus)
    assert outline.cell_area_px == pytest.approx(cell.sum() * 4)
    assert outline.diameter_px == pytest.approx(80, rel=0.03)
    assert outline.centre_px == pytest.approx((100 + 51 - 0.5, 200 + 51 - 0.5), abs=0.1)
    assert outline.nc_ratio == pytest.approx(0.25, abs=0.02)
