"""Cells of other laboratories in training: which of them, how many, and what the card says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.imaging.test_cells import drawn_tile
from utils.imaging.preprocess import PreprocessSpec
from utils.networks.cell_augmentation import Cells, CellStrength
from utils.networks.cell_sets import as_tiles, parted, read_cell_set
from utils.networks.recipes import RECIPES
from utils.settings import PROJECT_ROOT

SPEC = PreprocessSpec(input_px=64, cell_context=1.5)
RECIPE = replace(RECIPES["smoke"], name="tiny", spec=SPEC, strength=CellStrength())


def write_set(folder: Path, count: int) -> Path:
    """A set of drawn cells, every other one a neutrophil by its label."""
    rows = ["image ID,class label"]
    for number in range(1, count + 1):
        pixels, body, core = drawn_tile(120, cell=30 + number, nucleus=20)
        levels = np.where(core, 255, np.where(body, 128, 0)).astype(np.uint8)
        for kind, picture in (("images", pixels[..., ::-1]), ("masks", levels)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / f"{number:03d}.png"), picture)
        rows.append(f"{number},{1 + number % 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_the_last_quarter_of_a_set_stays_unseen(tmp_path: Path) -> None:
    pictures = read_cell_set(write_set(tmp_path, 8))
    train, test = parted(pictures)
    assert [p.path.stem for p in train] == [f"{i:03d}" for i in range(1, 7)]
    assert [p.path.stem for p in test] == ["007", "008"]


def test_other_laboratories_cells_are_weighed_in_training(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: nothing is trained")
    from utils.networks import publish, registry
    from utils.networks.card import Origin
    from utils.networks.dataset import PARTS, Split, list_folder
    from utils.networks.normalisation import IMAGENET

    own, other = tmp_path / "own", write_set(tmp_path / "other", 4)
    for code, size in (("LYT", 30), ("NGS", 40)):
        (own / code).mkdir(parents=True)
        for number in range(24):
            pixels, _, _ = drawn_tile(120 + 2 * number, cell=size + number, nucleus=20)
            cv2.imwrite(str(own / code / f"{number:03d}.png"), pixels[..., ::-1])
    examples = list_folder(own)
    # Drawn cells are near-duplicates of each other, so their split is given.
    parts = {e.sha256: PARTS[max(0, i % 24 - 21)] for i, e in enumerate(examples)}
    split = Split(seed=1, block=1, parts=parts, groups=dict.fromkeys(parts, 0))
    listed = registry.listed_label_set(PROJECT_ROOT / "models", "marrow7")
    classes = [label for label in listed if label.code in ("LYT", "NGS")]
    finished = publish.Finished(
        name="tiny",
        version="1",
        run=tmp_path / "run",
        examples=examples,
        split=split,
        classes=classes,
        normalisation=IMAGENET,
        spec=SPEC,
        start=None,
        parent=None,
        origin=Origin("own.", "none.", "none", "none.", "none.", "drawn cells"),
    )
    alone = publish.training_material(finished, RECIPE, seed=1).pictures
    joined = publish.training_material(replace(finished, elsewhere=(other,)), RECIPE, seed=1)
    assert isinstance(alone, Cells)
    count = len(split.select(examples, "train"))
    assert len(alone) == count
    # Three of the four cells, repeated until they are an eighth of the others.
    tiles, targets = as_tiles(parted(read_cell_set(other))[0], ["LYT", "NGS"])
    times = max(1, round(count / 8 / len(tiles)))
    added = joined.pictures.targets[count:]
    assert added.tolist() == targets.tolist() * times
    # Nothing is chosen on them.
    assert len(joined.validation) == len(split.select(examples, "validation"))
