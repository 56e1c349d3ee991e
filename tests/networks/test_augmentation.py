"""Training pictures say what they should, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from utils.imaging import counterfactual
from utils.imaging.preprocess import PreprocessSpec
from utils.networks.augmentation import Fields, Strength

SPEC = PreprocessSpec()
NEVER = Strength(
    swap=0,
    empty=0,
    outlier=0,
    stain_mix=0,
    density=0,
    grey=0,
    optics=0,
    rotate=False,
    scale=(1.0, 1.0),
    shift=0.0,
)


def smear(seed: int, background: tuple[int, int, int], nucleus: tuple[int, int, int]) -> np.ndarray:
    """A plain field of 224 pixels with three round nuclei."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((224, 224, 3), np.uint8)
    pixels[:] = background
    rows, columns = np.mgrid[:224, :224]
    for row, column in ((60, 60), (120, 130), (60, 160)):
        pixels[(rows - row) ** 2 + (columns - column) ** 2 < 18**2] = nucleus
    return np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def fields() -> Fields:
    blue, cream = (225, 232, 245), (245, 240, 225)
    pixels = [smear(i, blue if i < 4 else cream, (110, 50, 150)) for i in range(8)]
    outliers = [np.full((224, 224, 3), 200, np.uint8)]
    targets = np.array([0] * 4 + [1] * 4)
    return Fields(pixels, targets, outliers=outliers, classes=2, spec=SPEC, strength=NEVER, seed=1)


def drawn(fields: Fields, strength: Strength, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    fields.strength = strength
    return fields.draw(number, input_px=224, rng=np.random.default_rng(9))


def test_masks_find_the_cells_and_backgrounds_lose_them(fields: Fields) -> None:
    assert fields.masks[0][60, 60]
    assert not fields.masks[0][10, 10]
    centre = fields.backgrounds[0][55:65, 55:65].mean(axis=(0, 1))
    np.testing.assert_allclose(centre, (225, 232, 245), atol=12)


def test_swap_keeps_the_label_and_takes_another_background(fields: Fields) -> None:
    picture, target = drawn(fields, replace(NEVER, swap=1.0))
    assert target.tolist() == [1.0, 0.0]
    red, _, blue = picture[5:25, 5:25].mean(axis=(0, 1))
    assert red > blue  # cream, of the other class
    plain, _ = drawn(fields, NEVER)
    red, _, blue = plain[5:25, 5:25].mean(axis=(0, 1))
    assert red < blue


def test_emptied_fields_and_outliers_have_no_class(fields: Fields) -> None:
    for strength in (replace(NEVER, empty=1.0), replace(NEVER, outlier=1.0)):
        _, target = drawn(fields, strength)
        np.testing.assert_allclose(target, 0.5)


def test_drawing_repeats_and_leaves_the_fields_alone(fields: Fields) -> None:
    before = [p.copy() for p in fields.pixels]
    first, second = (drawn(fields, Strength(), 5) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert first[0].shape == (224, 224, 3)
    for kept, present in zip(before, fields.pixels, strict=True):
        np.testing.assert_array_equal(kept, present)


def test_stain_match_gives_the_other_statistics() -> None:
    source, donor = (
        smear(1, (225, 232, 245), (110, 50, 150)),
        smear(2, (245, 220, 200), (90, 60, 90)),
    )
    wanted = counterfactual.stain_statistics(donor)
    found = counterfactual.stain_statistics(counterfactual.match_stain(source, wanted))
    np.testing.assert_allclose(found, wanted, atol=4)


def test_unit_factors_change_nothing() -> None:
    pixels = smear(3, (225, 232, 245), (110, 50, 150))
    same = counterfactual.scale_stains(pixels, haematoxylin=1.0, eosin=1.0)
    np.testing.assert_allclose(same.astype(int), pixels.astype(int), atol=1)
    same = counterfactual.scale_densities(pixels, np.ones(3, np.float32))
    np.testing.assert_allclose(same.astype(int), pixels.astype(int), atol=1)


def test_more_dye_is_darker() -> None:
    pixels = smear(3, (225, 232, 245), (110, 50, 150))
    more = counterfactual.scale_stains(pixels, haematoxylin=1.3, eosin=1.3)
    assert more[60, 60].sum() < pixels[60, 60].sum()
