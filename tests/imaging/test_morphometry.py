"""Measurements of one cell: drawn cells of known measure, and real ones that people sorted."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import perimeter_crofton, regionprops, shannon_entropy

from utils.errors import InvalidImage, InvalidInput
from utils.imaging import measures
from utils.imaging.morphometry import COLUMNS, Morphometry, measure
from utils.imaging.outline import CellOutline
from utils.imaging.tile import outline_middle_cell

WBC = Path(__file__).resolve().parents[3] / "shared" / "datasets" / "wbc_masks"
NEUTROPHIL, LYMPHOCYTE, MONOCYTE, EOSINOPHIL = 1, 2, 3, 4

WHITE, CYTOPLASM, NUCLEUS = (240, 240, 240), (150, 180, 220), (90, 40, 120)
SIDE = 112
MIDDLE = (SIDE - 1) / 2
TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "90": np.rot90,
    "180": lambda plane: np.rot90(plane, 2),
    "270": lambda plane: np.rot90(plane, 3),
    "mirrored": np.fliplr,
    "upside down": np.flipud,
}


def ellipse(
    a: float, b: float | None = None, *, row: float = MIDDLE, col: float = MIDDLE, side: int = SIDE,
    turned: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Pixels whose centres lie in an ellipse with these half axes."""
    y, x = np.mgrid[:side, :side] - np.array([row, col])[:, None, None]
    along = x * math.cos(turned) + y * math.sin(turned)
    across = y * math.cos(turned) - x * math.sin(turned)
    return (along / a) ** 2 + (across / (b or a)) ** 2 <= 1.0


def paint(cell: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    pixels = np.full((*cell.shape, 3), WHITE, np.uint8)
    pixels[cell] = CYTOPLASM
    pixels[nucleus] = NUCLEUS
    return pixels


def measured(
    cell: np.ndarray, nucleus: np.ndarray, pixels: np.ndarray | None = None
) -> Morphometry:
    pixels = paint(cell, nucleus) if pixels is None else pixels
    return measure(pixels, CellOutline(0.0, 0.0, 1.0, cell, nucleus), white=WHITE)


def textured(side: int = SIDE, *, lobes: int = 3, seed: int = 5) -> tuple[np.ndarray, CellOutline]:
    """A cell with grain in its nucleus and its cytoplasm, the same at any size."""
    fine = np.random.default_rng(seed).normal(size=(SIDE // 4, SIDE // 4, 1)).astype(np.float32)
    grain = cv2.resize(fine, (side, side), interpolation=cv2.INTER_CUBIC)
    zoom = side / SIDE
    cell = ellipse(46 * zoom, row=(side - 1) / 2, col=(side - 1) / 2, side=side)
    nucleus = lobed(lobes, bridge=3.0, scale=zoom, side=side)
    pixels = np.clip(paint(cell, nucleus) + 12.0 * grain[..., None], 0, 255).astype(np.uint8)
    return pixels, CellOutline(0.0, 0.0, 1.0, cell, nucleus)


def lobed(
    count: int, *, bridge: float, turned: float = 0.3, scale: float = 1.0, side: int = SIDE
) -> np.ndarray:
    """Discs of radius 9 on an arc of radius 26, joined by bridges of this width; 0 for none."""
    middle = (side - 1) / 2
    angles = turned + np.arange(count) * math.tau / 6
    rows, cols = (middle + 26 * scale * f(angles) for f in (np.sin, np.cos))
    nucleus = np.zeros((side, side), bool)
    for row, col in zip(rows, cols, strict=True):
        nucleus |= ellipse(9 * scale, row=row, col=col, side=side)
    y, x = np.mgrid[:side, :side]
    for i in range(count - 1 if bridge else 0):
        step = np.array([rows[i + 1] - rows[i], cols[i + 1] - cols[i]])
        length = np.hypot(*step)
        along = ((y - rows[i]) * step[0] + (x - cols[i]) * step[1]) / length
        across = np.abs((y - rows[i]) * step[1] - (x - cols[i]) * step[0]) / length
        nucleus |= (along > 0) & (along < length) & (across <= bridge * scale / 2)
    return nucleus


@pytest.mark.parametrize(("cell_px", "nucleus_px"), [(45, 30), (45, 12), (20, 15), (12.5, 7)])
def test_discs_have_the_area_and_the_circularity_of_discs(
    cell_px: float, nucleus_px: float
) -> None:
    found = measured(ellipse(cell_px), ellipse(nucleus_px))
    assert found.cell_area_px == pytest.approx(math.pi * cell_px**2, rel=0.02)
    assert found.nucleus_area_px == pytest.approx(math.pi * nucleus_px**2, rel=0.03)
    assert found.nc_ratio == pytest.approx((nucleus_px / cell_px) ** 2, rel=0.04)
    assert found.equivalent_diameter_px == pytest.approx(2 * cell_px, rel=0.01)
    assert found.nucleus_diameter_px == pytest.approx(2 * nucleus_px, rel=0.02)
    assert found.cell_circularity > 0.95
    assert found.nucleus_circularity is not None
    assert found.nucleus_circularity > 0.93
    assert found.nucleus_solidity == pytest.approx(1.0)
    assert found.nucleus_eccentricity == pytest.approx(0.0, abs=1e-6)
    assert found.lobes == 1


@pytest.mark.parametrize("turned", [0.0, 0.4, math.pi / 4, 1.2])
@pytest.mark.parametrize(("a", "b"), [(40, 30), (40, 20), (36, 12)])
def test_ellipses_have_their_eccentricity_and_circularity(a: int, b: int, turned: float) -> None:
    found = measured(ellipse(50), ellipse(a, b, turned=turned))
    assert found.nucleus_area_px == pytest.approx(math.pi * a * b, rel=0.02)
    assert found.nucleus_eccentricity == pytest.approx(math.sqrt(1 - (b / a) ** 2), abs=0.01)
    bend = ((a - b) / (a + b)) ** 2  # Ramanujan's perimeter of an ellipse
    perimeter = math.pi * (a + b) * (1 + 3 * bend / (10 + math.sqrt(4 - 3 * bend)))
    circularity = 4 * math.pi * math.pi * a * b / perimeter**2
    assert found.nucleus_circularity == pytest.approx(circularity, rel=0.08)
    assert found.nucleus_solidity is not None
    assert found.nucleus_solidity > 0.98
    assert found.lobes == 1


def test_a_half_moon_is_less_solid_than_a_disc_and_a_square_less_circular() -> None:
    moon = ellipse(30) & ~ellipse(22, col=MIDDLE + 16)
    hull = cv2.convexHull(np.argwhere(moon).astype(np.int32))
    found = measured(ellipse(45), moon)
    # A hull of pixel centres is smaller than the pixels it holds by half its outline.
    pixels = cv2.contourArea(hull) + cv2.arcLength(hull, True) / 2
    assert found.nucleus_solidity == pytest.approx(moon.sum() / pixels, rel=0.03)
    # Four directions see the sides of an upright square, and no edge between them.
    square = np.zeros((SIDE, SIDE), bool)
    square[36:76, 36:76] = True
    assert measured(ellipse(45), square).nucleus_circularity == pytest.approx(math.pi / 4, rel=0.14)


@settings(max_examples=60, deadline=None)
@given(mask=hnp.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_shapes_agree_with_scikit_image(mask: np.ndarray) -> None:
    mask = mask.copy()
    mask[0, 0] = True
    (region,) = regionprops(mask.astype(np.uint8))
    assert measures.crofton_perimeter(mask) == pytest.approx(perimeter_crofton(mask))
    assert measures.eccentricity(mask) == pytest.approx(region.eccentricity, abs=1e-6)
    assert 0.0 < measures.solidity(mask) <= 1.0
    assert 0.0 < measures.circularity(mask) <= 1.0


def test_solidity_agrees_with_the_pixels_of_scikit_images_hull() -> None:
    for nucleus in (ellipse(30, 18, turned=0.7), lobed(4, bridge=4), lobed(2, bridge=0)):
        (region,) = regionprops(nucleus.astype(np.uint8))
        assert measures.solidity(nucleus) == pytest.approx(region.solidity, rel=0.04)


@pytest.mark.parametrize("bridge", [0.0, 1.5, 3.0, 6.0, 9.0])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_lobes_are_counted_with_bridges_and_without(count: int, bridge: float) -> None:
    assert measured(ellipse(46), lobed(count, bridge=bridge)).lobes == count


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 5),
    bridge=st.sampled_from([0.0, 2.0, 4.0, 6.0]),
    turned=st.floats(0.0, math.tau),
    scale=st.sampled_from([0.5, 0.75, 1.0, 1.5, 2.0]),
)
def test_lobes_do_not_depend_on_direction_and_size(
    count: int, bridge: float, turned: float, scale: float
) -> None:
    side = round(SIDE * scale)
    nucleus = lobed(count, bridge=bridge, turned=turned, scale=scale, side=side)
    assert measures.count_lobes(nucleus, cell_diameter_px=92 * scale) == count


@pytest.mark.parametrize(
    "nucleus",
    [
        pytest.param(ellipse(30), id="round"),
        pytest.param(ellipse(36, 18, turned=0.5), id="oval"),
        pytest.param(ellipse(28) & ~ellipse(14, col=MIDDLE + 26), id="indented"),
        pytest.param(ellipse(30) & ~ellipse(16) & ~ellipse(19, col=MIDDLE + 24), id="horseshoe"),
        pytest.param(ellipse(30) & ~ellipse(18), id="ring"),
        pytest.param(ellipse(30) ^ ellipse(2, row=MIDDLE - 40), id="with a speck"),
    ],
)
def test_round_and_indented_and_curved_nuclei_have_one_lobe(nucleus: np.ndarray) -> None:
    assert measured(ellipse(46), nucleus).lobes == 1


def test_a_wide_waist_parts_no_lobes() -> None:
    widths = [
        measures.count_lobes(lobed(2, bridge=width), cell_diameter_px=92) for width in range(2, 19)
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[:9] == [2] * 9  # up to 10 of 18
    assert widths[-3:] == [1] * 3  # from 16 of 18 on


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_turning_and_mirroring_change_nothing(turn: Callable[[np.ndarray], np.ndarray]) -> None:
    pixels, outline = textured()
    other = replace(outline, cell=turn(outline.cell), nucleus=turn(outline.nucleus))
    here, there = (
        measure(p, o, white=WHITE, um_per_px=0.1).to_dict()
        for p, o in ((pixels, outline), (np.ascontiguousarray(turn(pixels)), other))
    )
    assert here == pytest.approx(there, rel=1e-3)


def test_a_turned_view_is_measured_as_well() -> None:
    pixels, outline = textured()
    other = replace(outline, cell=outline.cell[::-1], nucleus=outline.nucleus[::-1])
    here, there = measure(pixels, outline), measure(pixels[::-1], other)
    assert there.cytoplasm_colour == pytest.approx(here.cytoplasm_colour)
    assert there.chromatin_contrast == pytest.approx(here.chromatin_contrast)


# Sharpness and the steps of an outline change with the number of pixels, so that the two views
# differ; twice the magnification must cost no more than this.
TOLERANCE = defaultdict(
    lambda: 0.03, nucleus_circularity=0.06, chromatin_entropy=0.06, chromatin_contrast=0.12
)


@pytest.mark.parametrize("lobes", [1, 3, 5])
def test_magnification_changes_lengths_and_areas_alone(lobes: int) -> None:
    small, large = (
        measure(*textured(side, lobes=lobes), white=WHITE, um_per_px=56 / side).to_dict()
        for side in (SIDE, 2 * SIDE)
    )
    for name, value in small.items():
        factor = 4 if name.endswith("area_px") else 2 if name.endswith("_px") else 1
        assert value is not None, name
        wanted = pytest.approx(factor * value, rel=TOLERANCE[name], abs=0.002)
        if name == "nucleus_eccentricity":  # of a drawn disc, its root leaps from 0
            wanted = pytest.approx(value, abs=0.05)
        assert large[name] == wanted, name


def test_the_window_is_cut_out_at_its_place_and_zoom() -> None:
    pixels, outline = textured()
    large = cv2.resize(pixels, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    field = np.full((700, 800, 3), WHITE, np.uint8)
    field[101 : 101 + 3 * SIDE, 250 : 250 + 3 * SIDE] = large
    placed = replace(outline, top=101.0, left=250.0, zoom=1 / 3)
    there = measure(field, placed, white=WHITE).to_dict()
    for name, value in measure(pixels, outline, white=WHITE).to_dict().items():
        factor = 9 if name.endswith("area_px") else 3 if name.endswith("_px") else 1
        wanted = None if value is None else pytest.approx(factor * value, rel=2e-3)
        assert there[name] == wanted, name


def test_a_window_rounded_up_beyond_the_picture_is_filled() -> None:
    pixels, outline = textured()
    less = measure(pixels[:-2, :-1], outline, white=WHITE)
    assert less.cytoplasm_red == pytest.approx(measure(pixels, outline, white=WHITE).cytoplasm_red)
    shifted = replace(outline, top=-0.6, left=0.4)
    assert measure(pixels, shifted, white=WHITE).lobes == 3


@settings(max_examples=40, deadline=None)
@given(
    levels=hnp.arrays(
        np.uint8, st.tuples(st.integers(6, 16), st.integers(6, 16)), elements=st.integers(0, 31)
    ),
    distance=st.floats(1.0, 4.0),
)
def test_contrast_is_that_of_scikit_images_matrix(levels: np.ndarray, distance: float) -> None:
    straight = graycomatrix(levels, range(1, 6), [0, math.pi / 2], levels=32)
    slanting = graycomatrix(
        levels, math.sqrt(2) * np.arange(1, 6), [math.pi / 4, 3 * math.pi / 4], levels=32
    )
    wanted = np.mean(
        [
            np.interp(steps, range(1, 6), graycoprops(matrix, "contrast").mean(axis=1))
            for matrix, steps in ((straight, distance), (slanting, distance / math.sqrt(2)))
        ]
    )
    everywhere = np.ones(levels.shape, bool)
    assert measures.glcm_contrast(levels, everywhere, distance_px=distance) == pytest.approx(wanted)
    # What lies around the mask has no part in it.
    around = np.random.default_rng(0).integers(0, 32, (levels.shape[0] + 9, levels.shape[1] + 7))
    mask = np.zeros(around.shape, bool)
    mask[4:-5, 3:-4] = True
    around[mask] = levels.ravel()
    found = measures.glcm_contrast(around.astype(np.uint8), mask, distance_px=distance)
    assert found == pytest.approx(wanted)


def test_contrast_where_pairs_are_few() -> None:
    levels = np.array([[0, 4, 9]], np.uint8)
    row = np.ones((1, 3), bool)
    assert measures.glcm_contrast(levels, row, distance_px=0.3) == pytest.approx((16 + 25) / 2)
    assert measures.glcm_contrast(levels, row, distance_px=2.0) == 81.0
    assert measures.glcm_contrast(levels, row, distance_px=90.0) is None
    row[0, 1] = False
    assert measures.glcm_contrast(levels, row, distance_px=1.0) is None


def test_an_even_nucleus_has_no_entropy_and_no_contrast() -> None:
    found = measured(ellipse(45), ellipse(30))
    assert found.chromatin_entropy == 0.0
    assert found.chromatin_contrast == 0.0
    assert found.cytoplasm_granularity == pytest.approx(0.0, abs=1e-6)


def test_a_nucleus_of_two_levels_has_one_bit() -> None:
    cell, nucleus = ellipse(45), ellipse(30)
    pixels = paint(cell, nucleus)
    pixels[: SIDE // 2][nucleus[: SIDE // 2]] = (120, 80, 140)
    found = measured(cell, nucleus, pixels)
    assert found.chromatin_entropy == pytest.approx(1.0, abs=1e-9)
    assert found.chromatin_contrast is not None
    assert found.chromatin_contrast > 0.0
    # A stain twice as strong leaves them alone.
    levels = measures.relative_levels(np.float32([[0.2, 0.3]]), np.ones((1, 2), bool))
    stronger = measures.relative_levels(np.float32([[0.4, 0.6]]), np.ones((1, 2), bool))
    np.testing.assert_array_equal(levels, stronger)


@settings(max_examples=40, deadline=None)
@given(levels=hnp.arrays(np.uint8, (5, 7), elements=st.integers(0, 31)))
def test_entropy_is_shannons(levels: np.ndarray) -> None:
    found = measures.entropy(levels, np.ones(levels.shape, bool))
    assert found == pytest.approx(float(shannon_entropy(levels)), abs=1e-9)
    assert 0.0 <= found <= 5.0


def test_coarse_chromatin_and_granules_are_told_from_smooth_ones() -> None:
    pixels, outline = textured()
    smooth = measure(cv2.GaussianBlur(pixels, (0, 0), 4), outline, white=WHITE)
    coarse = measure(pixels, outline, white=WHITE)
    assert (coarse.chromatin_contrast or 0) > 2 * (smooth.chromatin_contrast or 0)
    assert (coarse.cytoplasm_granularity or 0) > 1.5 * (smooth.cytoplasm_granularity or 0)


def test_the_nucleus_edge_is_no_granule() -> None:
    """A blurred edge runs into the cytoplasm; the rim is not read."""
    cell, nucleus = ellipse(46), ellipse(24)
    found = measured(cell, nucleus, cv2.GaussianBlur(paint(cell, nucleus), (0, 0), 1.0))
    assert (found.cytoplasm_granularity or 0.0) < 0.02


def test_colour_is_balanced_against_the_background() -> None:
    cell, nucleus = ellipse(45), ellipse(20)
    plain = measured(cell, nucleus)
    assert plain.cytoplasm_colour == pytest.approx([255 * c / 240 for c in CYTOPLASM])
    assert (plain.cytoplasm_basophilia or 0) > 0.3  # blue cytoplasm
    yellow = np.uint8(np.rint(paint(cell, nucleus) * [1.0, 0.95, 0.6]))
    outline = CellOutline(0.0, 0.0, 1.0, cell, nucleus)
    # The corners are empty: the white point is found there.
    found = measure(yellow, outline)
    assert found.cytoplasm_colour == pytest.approx(plain.cytoplasm_colour, abs=1.0)
    assert found.cytoplasm_basophilia == pytest.approx(plain.cytoplasm_basophilia, abs=0.02)
    pink = paint(cell, nucleus)
    pink[cell & ~nucleus] = (235, 160, 190)
    eosin = measured(cell, nucleus, pink)
    assert (eosin.cytoplasm_eosinophilia or 0) > (plain.cytoplasm_eosinophilia or 0) + 0.3
    assert (eosin.cytoplasm_basophilia or 0) < 0


def test_a_cell_that_is_all_nucleus_has_no_cytoplasm() -> None:
    found = measured(ellipse(30), ellipse(30))
    assert found.nc_ratio == 1.0
    values = found.to_dict()
    assert {name for name, value in values.items() if value is None} == {
        name for name in values if name.startswith("cytoplasm_") or name.endswith(("_um", "_um2"))
    }
    assert found.cytoplasm_colour is None


def test_a_narrow_cytoplasm_is_read_with_its_rim() -> None:
    assert measured(ellipse(30), ellipse(29)).cytoplasm_colour is not None


def test_one_pixel_of_nucleus() -> None:
    nucleus = np.zeros((SIDE, SIDE), bool)
    nucleus[56, 56] = True
    for cell in (ellipse(45), ellipse(3), nucleus):
        found = measured(cell, nucleus)
        assert found.nucleus_area_px == 1.0
        assert found.lobes == 1
        assert found.nucleus_solidity == 1.0
        assert found.nucleus_eccentricity == 0.0
        assert found.chromatin_entropy == 0.0
        assert found.chromatin_contrast is None


def test_no_nucleus() -> None:
    found = measured(ellipse(45), np.zeros((SIDE, SIDE), bool))
    assert (found.lobes, found.nucleus_area_px, found.nc_ratio) == (0, 0.0, 0.0)
    assert found.nucleus_diameter_px == 0.0
    for name in ("nucleus_circularity", "nucleus_solidity", "nucleus_eccentricity"):
        assert getattr(found, name) is None
    assert found.chromatin_entropy is found.chromatin_contrast is None
    assert found.cytoplasm_colour is not None


def test_micrometres_follow_from_the_scale() -> None:
    cell, nucleus = ellipse(45), ellipse(20)
    outline = CellOutline(0.0, 0.0, 0.5, cell, nucleus)
    field = cv2.resize(paint(cell, nucleus), None, fx=2, fy=2)
    found = measure(field, outline, um_per_px=0.1)
    assert found.um_per_px == 0.1
    assert found.equivalent_diameter_px == pytest.approx(180, rel=0.01)
    assert found.equivalent_diameter_um == pytest.approx(18, rel=0.01)
    assert found.nucleus_diameter_um == pytest.approx(8, rel=0.01)
    assert found.cell_area_um2 == pytest.approx(found.cell_area_px * 0.01)
    assert found.nucleus_area_um2 == pytest.approx(found.nucleus_area_px * 0.01)
    bare = measure(field, outline)
    assert bare.um_per_px is None
    assert bare.cell_area_um2 is bare.nucleus_area_um2 is None
    assert bare.equivalent_diameter_um is bare.nucleus_diameter_um is None


@settings(max_examples=60, deadline=None)
@given(
    pixels=hnp.arrays(np.uint8, (14, 17, 3)),
    cell=hnp.arrays(bool, (14, 17)),
    nucleus=hnp.arrays(bool, (14, 17)),
)
def test_any_picture_is_measured_and_stays_as_it_was(
    pixels: np.ndarray, cell: np.ndarray, nucleus: np.ndarray
) -> None:
    cell = cell.copy()
    cell[3, 4] = True
    before = pixels.copy(), cell.copy(), nucleus.copy()
    for array in (pixels, cell, nucleus):
        array.flags.writeable = False
    found = measure(pixels, CellOutline(0.0, 0.0, 1.0, cell, nucleus))
    for array, copy in zip((pixels, cell, nucleus), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert found.cell_area_px == np.count_nonzero(cell)
    assert found.nucleus_area_px == np.count_nonzero(nucleus & cell)
    assert 0.0 <= found.nc_ratio <= 1.0
    assert (found.lobes >= 1) == (found.nucleus_area_px > 0)
    assert all(value is None or math.isfinite(value) for value in found.to_dict().values())


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 3))],
    ids=["grey", "four channels", "float"],
)
def test_what_is_no_rgb_picture_is_refused(pixels: np.ndarray) -> None:
    full = np.ones((20, 20), bool)
    with pytest.raises(InvalidImage):
        measure(pixels, CellOutline(0.0, 0.0, 1.0, full, full))


def test_what_cannot_be_measured_is_refused() -> None:
    pixels, outline = textured()
    with pytest.raises(InvalidInput, match="empty"):
        measure(pixels, replace(outline, cell=np.zeros_like(outline.cell)))
    for top in (-300.0, 300.0):
        with pytest.raises(InvalidInput, match="outside"):
            measure(pixels, replace(outline, top=top))
    for scale in (0.0, -0.1, math.nan, math.inf):
        with pytest.raises(InvalidInput, match="Micrometres"):
            measure(pixels, outline, um_per_px=scale)
    for white in ((0.0, 240.0, 240.0), (240.0, 240.0), (math.nan, 240.0, 240.0)):
        with pytest.raises(InvalidInput, match="white point"):
            measure(pixels, outline, white=white)


def test_the_columns_are_those_of_the_dictionary_and_say_what_they_are() -> None:
    found = measured(ellipse(45), ellipse(20))
    assert tuple(found.to_dict()) == tuple(column.name for column in COLUMNS)
    assert set(vars(found)) - {"um_per_px"} <= set(found.to_dict())
    assert len({column.header for column in COLUMNS}) == len(COLUMNS)
    for name, header, definition in COLUMNS:
        assert hasattr(Morphometry, name) or name in Morphometry.__dataclass_fields__
        assert header == header.strip()
        assert definition.endswith(".")
        assert definition.count(". ") == 0, "one sentence"
    assert found.to_dict()["lobes"] == 1
    assert found.to_dict()["nc_ratio"] == round(found.nc_ratio, 4)


@pytest.mark.skipif(
    not (WBC / "labels.csv").is_file(), reason="../shared/datasets/wbc_masks is not there"
)
def test_real_cells_differ_as_the_textbook_says() -> None:
    cells: dict[int, list[Morphometry]] = defaultdict(list)
    with (WBC / "labels.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            pixels = cv2.imread(str(WBC / "images" / f"{int(row['image ID']):03d}.png"))
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
            outline = outline_middle_cell(pixels)
            if outline is not None:
                cells[int(row["class label"])].append(measure(pixels, outline))

    def mean(kind: int, name: str) -> float:
        values = [getattr(cell, name) for cell in cells[kind]]
        return float(np.mean([value for value in values if value is not None]))

    assert sum(map(len, cells.values())) >= 295
    kinds = (NEUTROPHIL, LYMPHOCYTE, MONOCYTE, EOSINOPHIL)
    lobes = {kind: mean(kind, "lobes") for kind in kinds}
    print("mean lobes:", {kind: round(value, 2) for kind, value in lobes.items()})
    assert lobes[NEUTROPHIL] > 2.0
    assert lobes[LYMPHOCYTE] < 1.05
    assert lobes[MONOCYTE] < 1.15
    assert lobes[NEUTROPHIL] > lobes[EOSINOPHIL] > lobes[MONOCYTE]
    blue = [mean(kind, "cytoplasm_basophilia") for kind in kinds]
    assert blue[1] > blue[2] > blue[0] > blue[3]
    assert max(kinds, key=lambda kind: mean(kind, "cytoplasm_eosinophilia")) == EOSINOPHIL
    assert max(kinds, key=lambda kind: mean(kind, "cytoplasm_granularity")) == EOSINOPHIL
    assert max(kinds, key=lambda kind: mean(kind, "nucleus_circularity")) == LYMPHOCYTE
    assert min(kinds, key=lambda kind: mean(kind, "equivalent_diameter_px")) == LYMPHOCYTE
