"""Splits that do not leak."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from utils.errors import DatasetInvalid
from utils.networks.dataset import (
    PARTS,
    Split,
    file_number,
    group_examples,
    list_folder,
    load_pixels,
    near_duplicates,
    perceptual_hash,
    split_by_group,
)


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)


def write(path: Path, pixels: np.ndarray, quality: int = 95) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classes")
    for c, code in enumerate(("A", "B")):
        for i in range(60):
            write(root / code / f"x-{i:03d}.jpg", picture(1000 * c + i))
    # The same picture again, compressed harder, in a block far away.
    write(root / "A" / "x-057.jpg", picture(3), quality=60)
    return root


def test_lists_in_order_of_file_numbers(folder: Path) -> None:
    examples = list_folder(folder)
    assert len(examples) == 120
    assert [file_number(e.path) for e in examples[:60]] == list(range(60))


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid):
        list_folder(tmp_path)
    with pytest.raises(DatasetInvalid):
        list_folder(tmp_path / "absent")


def test_hash_survives_compression_and_tells_pictures_apart(folder: Path) -> None:
    again = perceptual_hash(load_pixels(folder / "A" / "x-057.jpg"))
    first = perceptual_hash(load_pixels(folder / "A" / "x-003.jpg"))
    other = perceptual_hash(load_pixels(folder / "A" / "x-004.jpg"))
    assert list(near_duplicates([first, again])) == [(0, 1)]
    assert list(near_duplicates([first, other])) == []


def test_blocks_and_near_duplicates_stay_together(folder: Path) -> None:
    examples = list_folder(folder)
    groups = group_examples(examples, block=10)
    by_name = {
        e.path.relative_to(folder).as_posix(): g for e, g in zip(examples, groups, strict=True)
    }
    assert by_name["A/x-000.jpg"] == by_name["A/x-009.jpg"]
    assert by_name["A/x-010.jpg"] != by_name["A/x-009.jpg"]
    assert by_name["A/x-057.jpg"] == by_name["A/x-003.jpg"] == by_name["A/x-050.jpg"]


def test_split_keeps_groups_whole_and_repeats(folder: Path) -> None:
    examples = list_folder(folder)
    split = split_by_group(examples, seed=4, block=10)
    assert split == split_by_group(examples, seed=4, block=10)
    assert split.parts != split_by_group(examples, seed=5, block=10).parts
    parts_of_group: dict[int, set[str]] = {}
    for example in examples:
        group = split.groups[example.sha256]
        parts_of_group.setdefault(group, set()).add(split.parts[example.sha256])
    assert all(len(parts) == 1 for parts in parts_of_group.values())
    counts = Counter(split.parts[e.sha256] for e in examples)
    assert set(counts) == set(PARTS)


def test_too_few_groups_are_refused_in_a_sentence(folder: Path) -> None:
    with pytest.raises(DatasetInvalid, match="blocks of 40"):
        split_by_group(list_folder(folder), seed=4, block=40)


def test_subjects_are_groups(tmp_path: Path) -> None:
    for i, name in enumerate(("UID_1_1_1_all", "UID_1_2_9_all", "UID_H1_1_1_hem", "UID_2_1_1_all")):
        write(tmp_path / "all" / f"{name}.jpg", picture(50 + i))
    examples = list_folder(tmp_path)
    groups = dict(zip([e.path.stem for e in examples], group_examples(examples), strict=True))
    assert groups["UID_1_1_1_all"] == groups["UID_1_2_9_all"]
    assert len(set(groups.values())) == 3


def test_split_survives_a_file(folder: Path, tmp_path: Path) -> None:
    split = split_by_group(list_folder(folder), seed=4, block=10)
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == split
