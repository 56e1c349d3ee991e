"""Single cells in training and evaluation: sets on disk, crops, views, how finding is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.imaging.test_cells import drawn_field, drawn_tile
from tests.untrained import write_random_network
from utils.errors import DatasetInvalid
from utils.imaging.preprocess import PreprocessSpec, prepare
from utils.networks import evaluation, finding
from utils.networks.cell_augmentation import Cells, CellStrength
from utils.networks.cell_sets import as_tiles, read_cell_set
from utils.networks.registry import load_classifier
from utils.networks.views import Views, middle_cell_mask

SPEC = PreprocessSpec(input_px=64, cell_context=1.5)
NEVER = CellStrength(
    outlier=0,
    empty=0,
    swap=0,
    stain_mix=0,
    density=0,
    channel_mix=0,
    grey=0,
    light=0,
    optics=0,
    coarse=0,
    scale=(1.0, 1.0),
    shift=0.0,
    unfound=0,
)
NOTE = """<annotation><object><name>WBC</name><bndbox><xmin>{1}</xmin><ymin>{0}</ymin>
<xmax>{3}</xmax><ymax>{2}</ymax></bndbox></object><object><name>RBC</name><bndbox><xmin>1</xmin>
<ymin>1</ymin><xmax>60</xmax><ymax>60</ymax></bndbox></object></annotation>"""


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        pixels, body, core = drawn_tile(160, cell=40 + 2 * number, nucleus=27)
        write_png(tmp_path / "images" / f"{number:03d}.png", pixels)
        levels = np.where(core, 255, np.where(body, 128, 0)).astype(np.uint8)
        write_png(tmp_path / "masks" / f"{number:03d}.png", levels)
    (tmp_path / "labels.csv").write_text("image ID,class label\n1,1\n2,2\n3,5\n")
    return tmp_path


@pytest.fixture
def boxed(tmp_path: Path) -> Path:
    pixels = drawn_field((240, 320, 60, [(0, 5, 40)]))
    write_png(tmp_path / "images" / "Field_00007.png", pixels)
    (tmp_path / "annotations").mkdir()
    note = NOTE.format(180, 260, 300, 380)
    (tmp_path / "annotations" / "Field_00007.xml").write_text(note)
    (tmp_path / "labels.csv").write_text("image,cell,class\nField_00007,1,Monocyte\n")
    return tmp_path


def test_a_set_of_masked_cells_is_read(masked: Path) -> None:
    pictures = read_cell_set(masked)
    assert [p.classes for p in pictures] == [("1",), ("2",), ("5",)]
    assert all(p.boxes is None for p in pictures)
    masks = pictures[0].masks()
    assert masks is not None
    assert 0 < masks[0].sum() < masks[1].sum()


def test_a_set_of_boxed_fields_is_read(boxed: Path) -> None:
    (picture,) = read_cell_set(boxed)
    assert picture.boxes == ((180.0, 260.0, 300.0, 380.0),)  # the red cell is left out
    assert picture.classes == ("Monocyte",)
    assert picture.masks() is None


def test_tiles_are_those_of_known_classes(masked: Path) -> None:
    tiles, targets = as_tiles(read_cell_set(masked), ["LYT", "NGS"])
    assert len(tiles) == 2  # the basophil is left out
    assert targets.tolist() == [1, 0]
    with pytest.raises(DatasetInvalid):
        as_tiles(read_cell_set(masked), ["BLA"])


def test_a_boxed_cell_is_cut_out_with_its_surroundings(boxed: Path) -> None:
    tiles, targets = as_tiles(read_cell_set(boxed), ["EOS", "MON"])
    assert targets.tolist() == [1]
    assert tiles[0].shape == (240, 240, 3)
    assert middle_cell_mask(tiles[0], margin=0.01)[120, 120]


@pytest.mark.parametrize("missing", ["images", "masks"])
def test_a_set_of_another_layout_is_refused(masked: Path, missing: str) -> None:
    (masked / missing).rename(masked / "elsewhere")
    with pytest.raises(DatasetInvalid, match="Expected"):
        read_cell_set(masked)


def test_broken_boxes_are_named(boxed: Path) -> None:
    (boxed / "annotations" / "Field_00007.xml").write_text("<annotation><object>")
    with pytest.raises(DatasetInvalid, match=r"Field_00007\.xml"):
        read_cell_set(boxed)


def test_finding_is_measured_against_masks_and_against_boxes(masked: Path) -> None:
    report = finding.evaluate_finding(read_cell_set(masked))
    assert report["n"] == 3
    assert report["count_mae"] == 0
    assert report["detection"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert report["nucleus_dice"] > 0.95
    assert report["cell_dice"] > 0.94
    assert report["nc_ratio_mae"] < 0.08
    assert set(report["controls"]) == {"grey_otsu", "plain_nucleus_map"}


def test_boxes_count_where_they_overlap_by_half(boxed: Path) -> None:
    report = finding.evaluate_finding(read_cell_set(boxed), controls=False)
    assert report["detection"]["f1"] == 1.0
    (boxed / "annotations" / "Field_00007.xml").write_text(NOTE.format(240, 320, 300, 380))
    report = finding.evaluate_finding(read_cell_set(boxed), controls=False)
    assert report["detection"]["f1"] == 0.0
    assert report["count_mae"] == 0


def test_overlap_and_dice_by_hand() -> None:
    assert finding.overlap((0, 0, 10, 10), (0, 5, 10, 15)) == pytest.approx(1 / 3)
    assert finding.overlap((0, 0, 1, 1), (5, 5, 6, 6)) == 0.0
    one, other = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    assert finding.dice(one, other) == 0.5
    assert finding.dice(one & False, other & False) == 1.0


@pytest.fixture(scope="module")
def cells() -> Cells:
    tiles = [drawn_tile(160, cell=40 + i, nucleus=26)[0] for i in range(4)]
    return Cells(
        tiles,
        np.array([0, 0, 1, 1]),
        outliers=[np.full((80, 80, 3), 90, np.uint8)],
        spec=SPEC,
        strength=NEVER,
        classes=2,
    )


def drawn(cells: Cells, strength: CellStrength, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    cells.strength = strength
    return cells.draw(0, input_px=64, rng=np.random.default_rng(seed))


def test_training_sees_what_serving_sees(cells: Cells) -> None:
    picture, target = drawn(cells, NEVER)
    served = prepare(drawn_tile(160, cell=40, nucleus=26)[0], SPEC).network_input
    assert target.tolist() == [1.0, 0.0]
    # Turned by some angle: the colours within the inscribed disc are those of serving.
    rows, cols = np.ogrid[:64, :64]
    disc = np.hypot(rows - 31.5, cols - 31.5) < 30
    for channel in range(3):
        one, other = (np.sort(p[..., channel][disc].astype(int)) for p in (picture, served))
        assert np.abs(one - other).mean() < 6


def test_what_has_no_cell_has_no_class(cells: Cells) -> None:
    full, _ = drawn(cells, NEVER)
    emptied, target = drawn(cells, replace(NEVER, empty=1.0))
    np.testing.assert_allclose(target, 0.5)
    assert emptied[32, 32].min() > full[32, 32].min() + 40
    _, target = drawn(cells, replace(NEVER, outlier=1.0))
    np.testing.assert_allclose(target, 0.5)


def test_every_change_leaves_a_picture_and_repeats(cells: Cells) -> None:
    for seed in range(12):
        first, second = (drawn(cells, CellStrength(), seed) for _ in range(2))
        np.testing.assert_array_equal(first[0], second[0])
        assert first[0].shape == (64, 64, 3)
        assert first[0].dtype == np.uint8


def test_views_of_tiles_move_and_magnify_the_middle_cell() -> None:
    tiles = [drawn_tile(160, cell=44, nucleus=30)[0], drawn_tile(200, cell=50, nucleus=22)[0]]
    views = Views(tiles, np.array([0, 1]), spec=SPEC, seed=1)
    assert views.robustness[-2:] == ("half_size", "double_size")
    plain = views.input_of(0, "plain").astype(int)
    for view in ("half_size", "double_size"):
        assert np.abs(views.input_of(0, view).astype(int) - plain).mean() < 9
    removed = views.picture(0, "cells_removed")
    assert removed[80, 80].min() > tiles[0][80, 80].min() + 40


def test_a_cell_network_is_evaluated_through_the_serving_path(tmp_path: Path) -> None:
    write_random_network(tmp_path, name="cells", spec=SPEC)
    classifier = load_classifier(tmp_path, "cells")
    tiles = [drawn_tile(160, cell=40 + 2 * i, nucleus=27)[0] for i in range(6)]
    material = evaluation.Material(tiles, np.array([0, 1, 2, 3, 0, 1]))
    report = evaluation.evaluate(classifier, material, robustness=True)
    assert set(report["robustness"]) >= {"half_size", "double_size", "background_swap"}
    assert report["n"] == 6


def test_a_network_without_colour_sees_none_in_training_and_in_serving() -> None:
    tile, _, _ = drawn_tile(160, cell=48, nucleus=27)
    spec = replace(SPEC, grey=True)
    served = prepare(tile, spec).network_input
    cells = Cells([tile], np.array([0]), outliers=[], spec=spec, strength=NEVER, classes=2)
    trained, _ = cells.draw(0, input_px=64, rng=np.random.default_rng(1))
    for pixels in (served, trained):
        assert (pixels == pixels[..., :1]).all()
        assert pixels.std() > 10
    assert not (prepare(tile, SPEC).network_input == served).all()
